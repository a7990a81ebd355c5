// SPDX-License-Identifier: Apache-2.0

package socket

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// answerTime bounds a request whose answer takes no time of its own.
	answerTime = 60 * time.Second
	// answerMax bounds an answer that is read as a whole, in bytes.
	answerMax = 64 << 20
)

// ErrUnknown says that the agent does not have an endpoint of ours: it is of
// another version.
var ErrUnknown = errors.New("the running agent is of a version that does not offer this: restart it with this one")

// Client talks to the agent behind a socket. It is safe for concurrent use.
type Client struct {
	http *http.Client
	path string
}

// New makes a client. It connects when it is used.
func New(path string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
	return &Client{path: path, http: &http.Client{Transport: &http.Transport{DialContext: dial, DisableCompression: true}}}
}

// Path is the socket's.
func (c *Client) Path() string { return c.path }

// Close gives the connections back.
func (c *Client) Close() error {
	c.http.CloseIdleConnections()
	return nil
}

// Ping finds out whether the agent answers.
func (c *Client) Ping(ctx context.Context) error {
	return c.do(ctx, http.MethodGet, "/healthz", nil, nil, nil)
}

// do sends in as JSON and decodes the answer into out; both may be nil. What the
// agent refuses is an apierrors.APIStatus; other errors mean that it could not be
// asked, or that its answer was lost.
func (c *Client) do(ctx context.Context, method, path string, query url.Values, in, out any) error {
	_, err := c.exchange(ctx, method, path, query, in, out)
	return err
}

func (c *Client) exchange(ctx context.Context, method, path string, query url.Values, in, out any) (http.Header, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(data)
	}
	r, err := c.open(ctx, method, path, query, body)
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	data, err := io.ReadAll(io.LimitReader(r.Body, answerMax))
	if err == nil && out != nil {
		err = json.Unmarshal(data, out)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: the agent's answer: %w", c.path, err)
	}
	return r.Header, nil
}

// open sends a request and returns the answer if it is a good one. The caller
// closes its body.
func (c *Client) open(ctx context.Context, method, path string, query url.Values, body io.Reader) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, (&url.URL{Scheme: "http", Host: "node", Path: path, RawQuery: query.Encode()}).String(), body)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "application/json")
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	answer, err := c.http.Do(r)
	if err != nil {
		var e *url.Error
		if errors.As(err, &e) { // its URL says nothing that the path does not
			err = e.Err
		}
		return nil, fmt.Errorf("%s: %w", c.path, err)
	}
	if answer.StatusCode < 300 {
		return answer, nil
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(io.LimitReader(answer.Body, answerMax))
	if err != nil {
		return nil, fmt.Errorf("%s: the agent's answer: %w", c.path, err)
	}
	return nil, refusal(answer.StatusCode, data)
}

// refusal is the Status that an answer has, or one that is made of it.
func refusal(code int, data []byte) error {
	var s metav1.Status
	if json.Unmarshal(data, &s) != nil || s.Status != metav1.StatusFailure {
		s = metav1.Status{Status: metav1.StatusFailure, Code: int32(code), Message: fmt.Sprintf("%s: %s", http.StatusText(code), bytes.TrimSpace(data))}
	}
	return &apierrors.StatusError{ErrStatus: s}
}

// Refused tells whether the agent has answered with an error, and not merely could
// not be asked.
func Refused(err error) bool {
	var s apierrors.APIStatus
	return errors.As(err, &s)
}
