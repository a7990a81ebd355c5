// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// web is a server that has a page for each rule.
func web(t *testing.T, start func(http.Handler) *httptest.Server) int {
	t.Helper()
	mux := http.NewServeMux()
	for _, code := range []int{200, 204, 399, 400, 500} {
		mux.HandleFunc(fmt.Sprintf("/%d", code), func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) })
	}
	mux.HandleFunc("/here", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/500", http.StatusFound) })
	mux.HandleFunc("/there", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://elsewhere.invalid/", http.StatusFound)
	})
	mux.HandleFunc("/loop", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/loop", http.StatusFound) })
	mux.HandleFunc("/long", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, strings.Repeat("x", 3*outputMax)) })
	mux.HandleFunc("/endless", func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(w, "begin")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	mux.HandleFunc("/hints", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusTeapot)
	})
	mux.HandleFunc("/hangup", func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			_ = conn.Close() // that is the answer
		}
	})
	mux.HandleFunc("/slow", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("/later", func(w http.ResponseWriter, _ *http.Request) { // than an answer is looked for
		for _, part := range []string{"in ", "two ", "parts"} {
			time.Sleep(3 * AnswerTime)
			_, _ = fmt.Fprint(w, part)
			w.(http.Flusher).Flush()
		}
	})
	mux.HandleFunc("/headers", func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%s|%s|%s|%s|%s", r.Host, r.UserAgent(), r.Header.Get("Accept"), r.Header["X-A"], r.URL.RawQuery)
	})
	s := start(mux)
	t.Cleanup(s.Close)
	return s.Listener.Addr().(*net.TCPAddr).Port
}

// run makes a probe in both ways, if there are two.
func run(t *testing.T, spec corev1.Probe, target Target) (Outcome, error) {
	t.Helper()
	target.IP = "127.0.0.1"
	spec.TimeoutSeconds = 1
	p := New()
	outcome, err := p.Run(t.Context(), &spec, target)
	if q := p.Quick(&spec, target); q != nil {
		for _, wait := range []time.Duration{0, 2 * AnswerTime} { // too soon, as a rule, and in time
			if got, gotErr := quickly(t, q, wait); fmt.Sprint(got, gotErr) != fmt.Sprint(outcome, err) {
				t.Errorf("quickly %+v, %v; otherwise %+v, %v", got, gotErr, outcome, err)
			}
		}
	}
	return outcome, err
}

func quickly(t *testing.T, q *Quick, wait time.Duration) (outcome Outcome, err error) {
	q.Begin()
	time.Sleep(wait)
	outcome, over := q.Look()
	if !over {
		outcome, err = q.Finish(t.Context())
	}
	if q.conn != nil {
		t.Error("the connection is left")
	}
	return outcome, err
}

func TestHTTP(t *testing.T) {
	port := web(t, httptest.NewServer)
	secure := web(t, httptest.NewTLSServer)
	named := Target{Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: int32(port)}}}
	tests := []struct {
		name   string
		get    corev1.HTTPGetAction
		want   Result
		output string // part of it
	}{
		{"200", corev1.HTTPGetAction{Path: "/200"}, Success, ""},
		{"204", corev1.HTTPGetAction{Path: "204"}, Success, ""},
		{"399", corev1.HTTPGetAction{Path: "/399"}, Warning, ""},
		{"400", corev1.HTTPGetAction{Path: "/400"}, Failure, "HTTP probe failed with statuscode: 400"},
		{"500", corev1.HTTPGetAction{Path: "/500"}, Failure, "HTTP probe failed with statuscode: 500"},
		{"redirect to the same host is followed", corev1.HTTPGetAction{Path: "/here"}, Failure, "statuscode: 500"},
		{"redirect to another host is not", corev1.HTTPGetAction{Path: "/there"}, Warning, "Probe terminated redirects"},
		{"endless redirects", corev1.HTTPGetAction{Path: "/loop"}, Failure, "stopped after 10 redirects"},
		{"timeout", corev1.HTTPGetAction{Path: "/slow"}, Failure, "/slow\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"},
		{"an answer that takes its time", corev1.HTTPGetAction{Path: "/later"}, Success, "in two parts"},
		{"informational answers are not the answer", corev1.HTTPGetAction{Path: "/hints"}, Failure, "statuscode: 418"},
		{"no answer", corev1.HTTPGetAction{Path: "/hangup"}, Failure, "EOF"},
		{"https to a server without", corev1.HTTPGetAction{Path: "/200", Scheme: "HTTPS"}, Failure, "server gave HTTP response to HTTPS client"},
		{"port by name", corev1.HTTPGetAction{Path: "/200", Port: intstr.FromString("web")}, Success, ""},
		{"host", corev1.HTTPGetAction{Path: "/500", Host: "localhost"}, Failure, "statuscode: 500"},
		{"https, certificate not looked at", corev1.HTTPGetAction{Path: "/200", Scheme: "HTTPS", Port: intstr.FromInt(secure)}, Success, ""},
		{"nobody listens", corev1.HTTPGetAction{Port: intstr.FromInt(unused(t))}, Failure, "dial tcp 127.0.0.1:"},
		{"nobody listens, and why", corev1.HTTPGetAction{Port: intstr.FromInt(unused(t))}, Failure, ": connect: connection refused"},
		{"own headers", corev1.HTTPGetAction{Path: "/headers?q=1", HTTPHeaders: []corev1.HTTPHeader{
			{Name: "Host", Value: "example.com"}, {Name: "X-A", Value: "1"}, {Name: "X-A", Value: "2"}, {Name: "Accept", Value: ""},
		}}, Success, "example.com|kube-probe/1.36||[1 2]|q=1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if tt.get.Port == (intstr.IntOrString{}) {
				tt.get.Port = intstr.FromInt(port)
			}
			got, err := run(t, corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &tt.get}}, named)
			if err != nil || got.Result != tt.want || !strings.Contains(got.Output, tt.output) {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
	got, err := run(t, corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/long", Port: intstr.FromInt(port)}}}, Target{})
	if err != nil || got.Result != Success || len(got.Output) != outputMax {
		t.Errorf("long body: %s, %d bytes, %v", got.Result, len(got.Output), err)
	}
	got, err = run(t, corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/endless", Port: intstr.FromInt(port)}}}, Target{})
	if want := "context deadline exceeded (Client.Timeout or context cancellation while reading body)"; err == nil || err.Error() != want || got.Result != Failure {
		t.Errorf("a body that does not end: %+v, %v", got, err)
	}
	if _, err := run(t, corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromString("nope")}}}, Target{}); err == nil {
		t.Error("a port that the container does not have")
	}
}

// TestHTTPToADeafPeer has one that does not answer the connection itself.
func TestHTTPToADeafPeer(t *testing.T) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	port := name.(*unix.SockaddrInet4).Port
	for { // until its queue is full
		conn, err := net.DialTimeout("tcp", fmt.Sprint("127.0.0.1:", port), 200*time.Millisecond)
		if err != nil {
			break
		}
		defer conn.Close()
	}
	got, err := run(t, corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromInt(port)}}}, Target{})
	if err != nil || got.Result != Failure || !strings.HasSuffix(got.Output, ": context deadline exceeded (Client.Timeout exceeded while awaiting headers)") {
		t.Errorf("%+v, %v", got, err)
	}
}

func unused(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func TestTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	tcp := func(port int) corev1.Probe {
		return corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt(port)}}}
	}
	if got, err := run(t, tcp(l.Addr().(*net.TCPAddr).Port), Target{}); err != nil || got.Result != Success {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := run(t, tcp(unused(t)), Target{}); err != nil || got.Result != Failure || !strings.Contains(got.Output, "refused") {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestGRPC(t *testing.T) {
	serve := func(register func(*grpc.Server)) int {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s := grpc.NewServer()
		register(s)
		go func() { _ = s.Serve(l) }() // ends with Stop
		t.Cleanup(s.Stop)
		return l.Addr().(*net.TCPAddr).Port
	}
	healthy := serve(func(s *grpc.Server) {
		h := health.NewServer()
		h.SetServingStatus("down", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
		grpc_health_v1.RegisterHealthServer(s, h)
	})
	bare := serve(func(*grpc.Server) {})
	for _, tt := range []struct {
		port    int
		service string
		want    Result
		output  string
	}{
		{healthy, "", Success, "service healthy"},
		{healthy, "down", Failure, `service unhealthy (responded with "NOT_SERVING")`},
		{healthy, "stranger", Failure, "error: health rpc probe failed"},
		{bare, "", Failure, "does not implement the grpc health protocol"},
		{unused(t), "", Failure, "timeout: failed to connect service"},
	} {
		got, err := run(t, corev1.Probe{ProbeHandler: corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: int32(tt.port), Service: &tt.service}}}, Target{})
		if err != nil || got.Result != tt.want || !strings.Contains(got.Output, tt.output) {
			t.Errorf("service %q at %s: %+v, %v", tt.service, strconv.Itoa(tt.port), got, err)
		}
	}
}

// says is a command that ends at once.
func says(code int, stdout, stderr string) ExecFunc {
	return func(context.Context, []string, int) (Execution, error) {
		return Execution{code, []byte(stdout), []byte(stderr)}, nil
	}
}

func TestExec(t *testing.T) {
	spec := corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"is", "it"}}}}
	for _, tt := range []struct {
		name string
		run  ExecFunc
		want Outcome
		err  bool
	}{
		{"exit 0", says(0, "yes", ""), Outcome{Success, "yes"}, false},
		{"exit 1", says(1, "no", ""), Outcome{Failure, "no"}, false},
		{"both outputs, one after the other", says(1, "out", "err"), Outcome{Failure, "outerr"}, false},
		{"much output", says(0, strings.Repeat("o", outputMax-1), "err"), Outcome{Success, strings.Repeat("o", outputMax-1) + "e"}, false},
		{"timeout", func(ctx context.Context, _ []string, _ int) (Execution, error) {
			<-ctx.Done()
			return Execution{}, ctx.Err()
		}, Outcome{Failure, `command timed out: "is it" timed out after 1s`}, false},
		{"cannot be started", func(context.Context, []string, int) (Execution, error) {
			return Execution{}, errors.New("no such file")
		}, Outcome{}, true},
	} {
		got, err := run(t, spec, Target{Exec: tt.run})
		if got != tt.want || (err != nil) != tt.err {
			t.Errorf("%s: %+v, %v", tt.name, got, err)
		}
	}
}

// TestGivenUp: the end of the caller's context is no failure of the container.
func TestGivenUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	tries := 0
	_, err := New().Run(ctx, &corev1.Probe{TimeoutSeconds: 1, ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{}}}, Target{
		Exec: func(ctx context.Context, _ []string, _ int) (Execution, error) {
			tries++
			cancel()
			return Execution{ExitCode: 1}, nil
		},
	})
	if !errors.Is(err, context.Canceled) || tries != 1 {
		t.Errorf("%v after %d tries", err, tries)
	}
}
