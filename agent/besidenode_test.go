// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"bytes"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/minikubelet/minikubelet/agent/socket"
)

// onSocket serves on a unix socket and returns a client of it.
func onSocket(t *testing.T, serve http.HandlerFunc) *socket.Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := &httptest.Server{Listener: l, Config: &http.Server{Handler: serve}}
	server.Start()
	t.Cleanup(server.Close)
	return socket.New(path)
}

// An agent that goes away in the middle of the output costs no line and doubles none,
// even of lines that were written at the same time.
func TestOutputGoesOn(t *testing.T) {
	const one, two = "2026-01-02T03:04:05.000000001Z", "2026-01-02T03:04:05.000000002Z"
	entries := []string{
		one + " stdout F a", one + " stderr F b", two + " stdout P c", two + " stdout F d", two + " stdout F e",
	}
	var asked []string
	client := onSocket(t, func(w http.ResponseWriter, r *http.Request) {
		since := r.URL.Query().Get("since")
		asked = append(asked, since)
		upTo := map[int]int{1: 2, 2: 4}[len(asked)] // entries until the connection breaks
		for i, e := range entries {
			if e[:len(one)] < since {
				continue
			}
			if upTo > 0 && i >= upTo {
				_ = http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			}
			_, _ = w.Write([]byte(e + "\n"))
		}
	})
	var stdout, stderr bytes.Buffer
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p", UID: "u"}}
	err := besideNode{client, t.Context()}.output(pod, "app", 0, nil, &stdout, &stderr)
	if err != nil || stdout.String() != "a\ncd\ne\n" || stderr.String() != "b\n" {
		t.Errorf("%v, stdout %q, stderr %q", err, stdout.String(), stderr.String())
	}
	if want := "," + one + "," + two; strings.Join(asked, ",") != want {
		t.Errorf("asked from %q, want %q", asked, want)
	}
}

// A refusal is told from an agent that is away: only the second is tried again.
func TestUntilHeard(t *testing.T) {
	answers := 0
	client := onSocket(t, func(w http.ResponseWriter, _ *http.Request) {
		answers++
		switch answers {
		case 1:
			panic(http.ErrAbortHandler)
		case 2:
			refuse(w, http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests, "later")
		default:
			refuse(w, http.StatusForbidden, metav1.StatusReasonForbidden, "never")
		}
	})
	err := untilHeard(t.Context(), func() error { return client.Delete(t.Context(), "pods", "default", "p", metav1.DeleteOptions{}) })
	if err == nil || err.Error() != "never" || answers != 3 {
		t.Errorf("%v after %d answers", err, answers)
	}
}

// What is there already is left alone, with a word on whose it is.
func TestBesideNameTaken(t *testing.T) {
	writes := 0
	client := onSocket(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			writes++
		}
		answer(w, http.StatusOK, metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: "p", Annotations: map[string]string{annotationFile: "/m/p.yaml"}}})
	})
	o := RunOptions{Pods: []*corev1.Pod{{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"}}}}
	_, err := newBesideObjects(client).create(t.Context(), "n", o, &Console{})
	if err == nil || !strings.Contains(err.Error(), "pod default/p is there already, from the manifest /m/p.yaml") || writes != 0 {
		t.Errorf("%v, %d writes", err, writes)
	}
}
