// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/minikubelet/minikubelet/apiserver/streaming"
)

// sessionsMax bounds the sessions of exec, attach and port-forward at a time, all of
// them together.
const sessionsMax = 256

// Streams reaches into running Pods.
type Streams interface {
	// Running is the ID of the instance of the container that runs; false when none
	// does.
	Running(pod *corev1.Pod, container string) (id string, ok bool)
	// Exec runs a command in the container with that ID, and gives its exit code after
	// all output was written. When ctx ends, which means that the client is gone, it
	// returns at once: the process goes on without input, as in Kubernetes, and its
	// output is written until it ends.
	Exec(ctx context.Context, id string, command []string, t Terminal) (exitCode int, err error)
	// Attach connects to the first process of the container with that ID until its
	// output has ended, the client's input has, or ctx has. once says that the end of the
	// input is the process's own, after which its output goes on.
	Attach(ctx context.Context, id string, once bool, t Terminal) error
	// Address is the one at which a Pod that runs is reached: its own in the Pod network,
	// the node's with hostNetwork. It is what the node finds, whatever the Pod's status
	// says; false when there is none.
	Address(pod *corev1.Pod) (ip netip.Addr, ok bool)
	// Dial connects to a port of the Pod's loopback interface.
	Dial(ctx context.Context, pod *corev1.Pod, port uint16) (net.Conn, error)
}

// Terminal is what a process is connected to. Streams that nobody asked for are nil.
type Terminal struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	TTY            bool
	// Resize is nil without TTY.
	Resize <-chan streaming.Size
}

// mayCreate asks for the verb create also where a session begins with GET, as a
// WebSocket must: or whoever may only read could run commands.
func (s *Server) mayCreate(r *http.Request, req request) error {
	want := wanted(r, req, true)
	want.Verb = "create"
	return s.authorize(caller(r), want)
}

// call is a client's request for streams of a container.
type call struct {
	pod       corev1.Pod
	container string
	wanted    streaming.Wanted
}

// readCall reads a request for exec or attach; nil without an error when the client has
// its answer already.
func (s *Server) readCall(w http.ResponseWriter, r *http.Request, req request) (*call, error) {
	if err := s.mayCreate(r, req); err != nil {
		return nil, err
	}
	c, q := new(call), r.URL.Query()
	err := s.cfg.Store.Get("pods", req.namespace, req.name, &c.pod)
	if err != nil {
		return nil, err
	}
	if c.container, err = streamContainer(&c.pod, q.Get("container")); err != nil {
		return nil, err
	}
	if !streaming.IsUpgrade(r) {
		return nil, apierrors.NewBadRequest("Upgrade request required")
	}
	if c.wanted, err = wantedStreams(q); err != nil {
		nodeText(w, http.StatusBadRequest, err.Error())
		return nil, nil
	}
	return c, nil
}

// wantedStreams reads the query as corev1.PodExecOptions and PodAttachOptions.
func wantedStreams(q url.Values) (streaming.Wanted, error) {
	is := func(name string) bool {
		return q.Has(name) && q.Get(name) != "0" && !strings.EqualFold(q.Get(name), "false")
	}
	w := streaming.Wanted{Stdin: is("stdin"), Stdout: is("stdout"), Stderr: is("stderr"), TTY: is("tty")}
	if !w.Stdin && !w.Stdout && !w.Stderr {
		return w, errors.New("you must specify at least 1 of stdin, stdout, stderr")
	}
	return w, nil
}

// streamContainer is the container that a session is for: the only one when none is
// named.
func streamContainer(pod *corev1.Pod, name string) (string, error) {
	names := containerNames(pod)
	switch {
	case name == "" && len(pod.Spec.Containers) == 1:
		return pod.Spec.Containers[0].Name, nil
	case name == "":
		return "", apierrors.NewBadRequest("a container name must be specified for pod " + pod.Name + ", choose one of: [" + strings.Join(names, " ") + "]")
	case !slices.Contains(names, name):
		return "", apierrors.NewBadRequest("container " + name + " is not valid for pod " + pod.Name)
	}
	return name, nil
}

func containerNames(pod *corev1.Pod) []string {
	var names []string
	for i := range pod.Spec.InitContainers {
		names = append(names, pod.Spec.InitContainers[i].Name)
	}
	for i := range pod.Spec.Containers {
		names = append(names, pod.Spec.Containers[i].Name)
	}
	for i := range pod.Spec.EphemeralContainers {
		names = append(names, pod.Spec.EphemeralContainers[i].Name)
	}
	return names
}

// nodeText answers as a kubelet does, in plain text: clients show it as the reason why
// they could not upgrade.
func nodeText(w http.ResponseWriter, code int, message string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	_, _ = io.WriteString(w, message) // the client may be gone
}

// session counts and logs one session of a Pod: who and what, never the contents.
type session struct {
	log      *slog.Logger
	giveBack func()
	began    time.Time
	in, out  atomic.Int64
}

// beginSession takes a place. The session must be ended.
func (s *Server) beginSession(r *http.Request, verb string, pod *corev1.Pod, attrs ...any) (*session, error) {
	who := caller(r)
	giveBack, err := s.sessions.take(who)
	if err != nil {
		return nil, err
	}
	log := s.cfg.Log.With("session", verb, "pod", pod.Namespace+"/"+pod.Name, "user", who.Name, "from", r.RemoteAddr)
	log.Info("session begins", attrs...)
	return &session{log: log, giveBack: giveBack, began: time.Now()}, nil
}

func (s *session) end(attrs ...any) {
	s.giveBack()
	s.log.Info("session ended", append(attrs, "took", time.Since(s.began), "bytesIn", s.in.Load(), "bytesOut", s.out.Load())...)
}

// terminal is what the session's client wants, counted.
func (s *session) terminal(c *streaming.Session, tty bool) Terminal {
	t := Terminal{TTY: tty, Resize: c.Resize}
	if c.Stdin != nil {
		t.Stdin = countedReader{c.Stdin, &s.in}
	}
	if c.Stdout != nil {
		t.Stdout = countedWriter{c.Stdout, &s.out}
	}
	if c.Stderr != nil {
		t.Stderr = countedWriter{c.Stderr, &s.out}
	}
	return t
}

type countedReader struct {
	io.Reader
	n *atomic.Int64
}

func (c countedReader) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n.Add(int64(n))
	return n, err
}

type countedWriter struct {
	io.Writer
	n *atomic.Int64
}

func (c countedWriter) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	c.n.Add(int64(n))
	return n, err
}

// countedConn counts both directions.
type countedConn struct {
	net.Conn
	session *session
}

func (c countedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.session.out.Add(int64(n))
	return n, err
}

func (c countedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.session.in.Add(int64(n))
	return n, err
}

// CloseWrite ends one direction, where the connection can.
func (c countedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

var sessionSucceeded = metav1.Status{Status: metav1.StatusSuccess}

// sessionFailed is how a session tells its client of an error.
func sessionFailed(err error) *metav1.Status {
	return &metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusInternalServerError, Reason: metav1.StatusReasonInternalError,
		Message: "Internal error occurred: " + err.Error(),
	}
}
