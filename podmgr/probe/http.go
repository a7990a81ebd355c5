// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// version is that of the Kubernetes whose rules these are, in User-Agent headers.
const version = "1.36"

// redirectsMax is how many redirects to the same host are followed.
const redirectsMax = 10

// timedOut and timedOutLate are what an http.Client with a timeout, as the kubelet's is,
// says after its errors.
const (
	timedOut     = " (Client.Timeout exceeded while awaiting headers)"
	timedOutLate = " (Client.Timeout or context cancellation while reading body)"
)

// newTransport speaks as the kubelet: straight to the container, whatever proxy
// the node has, without looking at certificates, a new connection each time.
func newTransport() http.RoundTripper {
	return plain{&http.Transport{
		DialContext: dialer().DialContext, DisableKeepAlives: true, DisableCompression: true, ForceAttemptHTTP2: true,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // documented: probes skip the certificate's verification
	}}
}

// NewRequest makes the request of a httpGet action. purpose is a word in the
// User-Agent header: probe or lifecycle.
func NewRequest(ctx context.Context, get *corev1.HTTPGetAction, target Target, purpose string) (*http.Request, error) {
	address, err := target.address(get.Host, get.Port)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(get.Path)
	if err != nil {
		u = &url.URL{Path: get.Path} // passed on as it is, as in the kubelet
	}
	u.Scheme, u.Host = strings.ToLower(string(get.Scheme)), address
	if u.Scheme == "" {
		u.Scheme = "http"
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	for _, h := range get.HTTPHeaders {
		request.Header.Add(h.Name, h.Value)
	}
	if _, ok := request.Header["User-Agent"]; !ok {
		request.Header.Set("User-Agent", "kube-"+purpose+"/"+version)
	}
	switch accept, ok := request.Header["Accept"]; {
	case !ok:
		request.Header.Set("Accept", "*/*")
	case accept[0] == "":
		request.Header.Del("Accept")
	}
	request.Host = request.Header.Get("Host")
	return request, nil
}

// get succeeds with a status from 200 to 399. Redirects to another host are not
// followed: the container answered.
func (p *Prober) get(request *http.Request, transport http.RoundTripper) (Outcome, error) {
	client := http.Client{Transport: transport, CheckRedirect: sameHost}
	response, err := client.Do(request)
	if errors.Is(err, context.DeadlineExceeded) {
		return Outcome{Failure, err.Error() + timedOut}, nil
	}
	if err != nil {
		return Outcome{Failure, err.Error()}, nil
	}
	defer response.Body.Close()
	return outcomeOf(response)
}

// outcomeOf an answer, whose body is read.
func outcomeOf(response *http.Response) (Outcome, error) {
	body, err := io.ReadAll(io.LimitReader(response.Body, outputMax))
	switch code := response.StatusCode; {
	case errors.Is(err, context.DeadlineExceeded):
		return Outcome{Result: Failure}, errors.New(err.Error() + timedOutLate)
	case err != nil:
		return Outcome{Result: Failure}, err
	case code < http.StatusOK || code >= http.StatusBadRequest:
		// Without the body: it may hold what is not for the reader of events.
		return Outcome{Failure, fmt.Sprintf("HTTP probe failed with statuscode: %d", code)}, nil
	case code >= http.StatusMultipleChoices:
		return Outcome{Warning, fmt.Sprintf("Probe terminated redirects, Response body: %s", body)}, nil
	}
	return Outcome{Success, string(body)}, nil
}

func sameHost(request *http.Request, via []*http.Request) error {
	if request.URL.Hostname() != via[0].URL.Hostname() {
		return http.ErrUseLastResponse
	}
	if len(via) >= redirectsMax {
		return errors.New("stopped after 10 redirects")
	}
	return nil
}
