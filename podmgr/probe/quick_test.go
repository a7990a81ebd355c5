// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// lookUntil makes a quick HTTP probe that is over when it is looked at, sooner or later.
func lookUntil(t *testing.T, port int) Outcome {
	t.Helper()
	q := New().Quick(&corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/200", Port: intstr.FromInt(port)}}}, Target{IP: "127.0.0.1"})
	for range 100 {
		q.Begin()
		time.Sleep(AnswerTime)
		outcome, over := q.Look()
		if q.GiveUp(); over {
			return outcome
		}
	}
	t.Fatal("no answer is ever seen")
	return Outcome{}
}

// TestNothingIsRemembered: the server has ended the connection, and so neither end has
// to keep it.
func TestNothingIsRemembered(t *testing.T) {
	port := web(t, httptest.NewServer)
	if got := lookUntil(t, port); got.Result != Success {
		t.Fatalf("%+v", got)
	}
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	const timeWait = "06"
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		if at := fmt.Sprintf(":%04X", port); (strings.HasSuffix(f[1], at) || strings.HasSuffix(f[2], at)) && f[3] == timeWait {
			t.Errorf("left: %s", line)
		}
	}
}

// TestGoodbye: a server that leaves it to the probe to end the connection sees its end,
// not that it broke.
func TestGoodbye(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	const tries = 100 // of lookUntil
	seen := make(chan error, tries)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if _, err = http.ReadRequest(bufio.NewReader(conn)); err == nil {
				_, err = fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK")
			}
			if err == nil {
				_, err = conn.Read(make([]byte, 1))
			}
			_ = conn.Close()
			seen <- err
		}
	}()
	if got := lookUntil(t, l.Addr().(*net.TCPAddr).Port); got != (Outcome{Success, "OK"}) {
		t.Errorf("%+v", got)
	}
	if err := <-seen; err != io.EOF {
		t.Errorf("the server sees %v", err)
	}
}

// TestTCPIsSeen: the server gets a connection, and its end.
func TestTCPIsSeen(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	q := New().Quick(&corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt(l.Addr().(*net.TCPAddr).Port)}}}, Target{IP: "127.0.0.1"})
	q.Begin()
	if outcome, over := q.Look(); !over || outcome.Result != Success {
		t.Fatalf("%+v, over %v", outcome, over)
	}
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the server sees %v", err)
	}
}

// TestBrokenOff: what a server said before it broke the connection counts, and that it
// did is told, although the socket has told it to Look.
func TestBrokenOff(t *testing.T) {
	for answer, want := range map[string]string{
		"":                    "read: connection reset by peer",
		"HTTP/1.1 200 OK\r\n": "read: connection reset by peer",
		"HTTP/1.1 500 No\r\nContent-Length:0\r\n\r\n": "HTTP probe failed with statuscode: 500",
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		broken := make(chan error, 1)
		go func() {
			conn, err := l.Accept()
			if err == nil {
				_, err = http.ReadRequest(bufio.NewReader(conn))
			}
			if err == nil {
				_, err = io.WriteString(conn, answer)
			}
			if err == nil {
				err = conn.(*net.TCPConn).SetLinger(0)
			}
			if err == nil {
				err = conn.Close()
			}
			broken <- err
		}()
		q := New().Quick(&corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/", Port: intstr.FromInt(l.Addr().(*net.TCPAddr).Port)}}},
			Target{IP: "127.0.0.1"})
		q.Begin()
		if err := <-broken; err != nil {
			t.Fatal(err)
		}
		if outcome, over := q.Look(); over {
			t.Errorf("%q: %+v", answer, outcome)
		}
		if outcome, err := q.Finish(t.Context()); err != nil || outcome.Result != Failure || !strings.HasSuffix(outcome.Output, want) {
			t.Errorf("%q: %+v, %v", answer, outcome, err)
		}
		_ = l.Close()
	}
}

func TestNotQuick(t *testing.T) {
	port := intstr.FromInt(80)
	for name, h := range map[string]corev1.ProbeHandler{
		"https":     {HTTPGet: &corev1.HTTPGetAction{Port: port, Scheme: corev1.URISchemeHTTPS}},
		"by name":   {HTTPGet: &corev1.HTTPGetAction{Port: port, Host: "localhost"}},
		"IPv6":      {TCPSocket: &corev1.TCPSocketAction{Port: port, Host: "::1"}},
		"no port":   {TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromString("web")}},
		"exec":      {Exec: &corev1.ExecAction{}},
		"grpc":      {GRPC: &corev1.GRPCAction{Port: 80}},
		"no header": {HTTPGet: &corev1.HTTPGetAction{Port: port, HTTPHeaders: []corev1.HTTPHeader{{Name: "a b", Value: "c"}}}},
	} {
		q := New().Quick(&corev1.Probe{ProbeHandler: h}, Target{IP: "127.0.0.1"})
		if (q != nil) != (name == "no header") { // net/http sends it, as it is
			t.Errorf("%s: %v", name, q)
		}
	}
}

// recorded is a connection on which the answer came long ago.
type recorded struct{ bytes.Reader }

func (*recorded) Write(p []byte) (int, error) { return len(p), nil }
func (*recorded) SetDeadline(time.Time) error { return nil }
func (*recorded) Close() error                { return nil }

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }

// FuzzLook: what is taken for a whole answer is what an http.Client makes of the
// connection.
func FuzzLook(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\n\r\nbody", "HTTP/1.0 204 No Content\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
		"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", "HTTP/1.1 500 No\r\n\r\n", "nonsense", "",
	} {
		f.Add([]byte(s), len(s))
		f.Add([]byte(s), len(s)-3)
	}
	p := New()
	f.Fuzz(func(t *testing.T, answer []byte, cut int) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1/", nil)
		if err != nil {
			t.Fatal(err)
		}
		d := newDesk().(*desk)
		if len(answer) > len(d.buffer) {
			t.Skip("read in steps")
		}
		want, wantErr := p.get(request, roundTrip(func(request *http.Request) (*http.Response, error) {
			conn := &recorded{}
			conn.Reset(answer)
			return newExchange(request.Context(), conn).ask(request, nil, nil)
		}))
		for _, n := range []int{len(answer), max(0, min(cut, len(answer)))} {
			copy(d.buffer[:], answer[:n])
			for _, ended := range []bool{false, true} {
				if ended && n < len(answer) {
					continue
				}
				if got, over := d.read(n, request, ended); over && (wantErr != nil || got != want) {
					t.Errorf("%d bytes, ended %v: %+v, an http.Client says %+v, %v", n, ended, got, want, wantErr)
				}
			}
		}
	})
}
