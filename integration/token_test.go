// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
)

// longTests has tests run that wait for minutes, because the API allows no shorter times.
const longTests = "MINIKUBELET_TEST_LONG"

// answers is the code that the API gives a request with a token: 401 when it is not good
// any more, 403 when it is, since it allows nothing.
func (n *node) answers(token string) int {
	n.t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", n.path("data", "kubeconfig"))
	if err != nil {
		n.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(config.CAData)
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots}}}
	r, err := http.NewRequestWithContext(n.t.Context(), http.MethodGet, config.Host+"/api/v1/namespaces/default/pods", nil)
	if err != nil {
		n.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	answer, err := client.Do(r)
	if err != nil {
		n.t.Fatal(err)
	}
	defer answer.Body.Close()
	return answer.StatusCode
}

const tokenVolume = "volumes: [{name: t, projected: {sources: [{serviceAccountToken: {path: token, expirationSeconds: 600}}]}}]"

// TestTokensEndWithTheirPod: a Pod's token is good while the Pod is there, with the next
// agent as well, which mounts another.
func TestTokensEndWithTheirPod(t *testing.T) {
	kubectlPath(t)
	n := startNode(t)
	n.must(podOf("user", tokenVolume, apps(sh("a", forever, "volumeMounts: [{name: t, mountPath: /t}]"))))
	n.awaitRunning("user")
	read := func() string { return strings.TrimSpace(n.kubectl("exec", "user", "--", "cat", "/t/token")) }
	first := read()
	if code := n.answers(first); code != http.StatusForbidden {
		t.Errorf("the token is answered with %d", code)
	}
	n.kill()
	n.start()
	n.eventually("the next agent mounts a new token", func() bool { return read() != first })
	second := read()
	for _, token := range []string{first, second} {
		if code := n.answers(token); code != http.StatusForbidden {
			t.Errorf("after a restart the token is answered with %d", code)
		}
	}
	n.kubectl("delete", "pod", "user", "--grace-period=0", "--force")
	n.awaitGone("user")
	n.must(podOf("user", tokenVolume, apps(sh("a", forever)))) // of the same name, but not the same Pod
	for _, token := range []string{first, second, second + "x", "x"} {
		if code := n.answers(token); code != http.StatusUnauthorized {
			t.Errorf("the token of a Pod that is gone is answered with %d", code)
		}
	}
}

// TestTokensAreReplaced waits for a token's whole life, of which the least is ten minutes:
// it is replaced before it ends, and then it is good for nothing.
func TestTokensAreReplaced(t *testing.T) {
	if os.Getenv(longTests) == "" {
		t.Skip("takes eleven minutes: set " + longTests)
	}
	kubectlPath(t)
	n := startNode(t)
	n.must(podOf("user", tokenVolume, apps(sh("a", forever, "volumeMounts: [{name: t, mountPath: /t}]"))))
	n.awaitRunning("user")
	read := func() string { return strings.TrimSpace(n.kubectl("exec", "user", "--", "cat", "/t/token")) }
	began, first := time.Now(), read()
	second := first
	for second == first {
		if time.Since(began) > 9*time.Minute+30*time.Second {
			t.Fatal("the token was not replaced before its end")
		}
		time.Sleep(5 * time.Second)
		second = read()
	}
	t.Logf("replaced after %v", time.Since(began))
	for name, token := range map[string]string{"old": first, "new": second} {
		if code := n.answers(token); code != http.StatusForbidden {
			t.Errorf("the %s token is answered with %d", name, code)
		}
	}
	time.Sleep(time.Until(began.Add(11*time.Minute + 5*time.Second))) // clocks may differ by a minute, as in Kubernetes
	if code := n.answers(first); code != http.StatusUnauthorized {
		t.Errorf("after its end the old token is answered with %d", code)
	}
	if code := n.answers(second); code != http.StatusForbidden {
		t.Errorf("the new token is answered with %d", code)
	}
}
