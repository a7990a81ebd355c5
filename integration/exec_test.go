// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/util/exec"
)

const worker = `
apiVersion: v1
kind: Pod
metadata: {name: worker}
spec:
  terminationGracePeriodSeconds: 0
  initContainers:
  - {name: first, image: busybox, imagePullPolicy: IfNotPresent, command: ["true"]}
  containers:
  - name: main
    image: busybox
    imagePullPolicy: IfNotPresent
    command: [sleep, "100000"]
    workingDir: /tmp
    env: [{name: COLOUR, value: green}]
    securityContext: {runAsUser: 1234, runAsGroup: 77, capabilities: {drop: [ALL], add: [NET_RAW]}}
  - {name: other, image: busybox, imagePullPolicy: IfNotPresent, command: [sleep, "100000"]}
`

// rest is a client's configuration for the node.
func (n *node) rest() *rest.Config {
	n.t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", n.path("data", "kubeconfig"))
	if err != nil {
		n.t.Fatal(err)
	}
	return config
}

// protocols are the ways in which client-go streams a remote command.
var protocols = []string{"websocket", "spdy"}

// session is client-go's stream to a subresource of a Pod.
func (n *node) session(protocol, subresource, pod string, query url.Values) remotecommand.Executor {
	n.t.Helper()
	config := n.rest()
	u, err := url.Parse(config.Host + "/api/v1/namespaces/default/pods/" + pod + "-" + nodeName + "/" + subresource)
	if err != nil {
		n.t.Fatal(err)
	}
	u.RawQuery = query.Encode()
	var e remotecommand.Executor
	if protocol == "websocket" {
		e, err = remotecommand.NewWebSocketExecutor(config, http.MethodGet, u.String())
	} else {
		e, err = remotecommand.NewSPDYExecutor(config, http.MethodPost, u)
	}
	if err != nil {
		n.t.Fatal(err)
	}
	return e
}

// run runs a command in the worker's main container and returns its exit code.
func (n *node) run(protocol string, o remotecommand.StreamOptions, command ...string) (int, error) {
	query := url.Values{"container": {"main"}, "command": command}
	for name, is := range map[string]bool{"stdin": o.Stdin != nil, "stdout": o.Stdout != nil, "stderr": o.Stderr != nil, "tty": o.Tty} {
		if is {
			query.Set(name, "true")
		}
	}
	ctx, cancel := context.WithTimeout(n.t.Context(), patience)
	defer cancel()
	err := n.session(protocol, "exec", "worker", query).StreamWithContext(ctx, o)
	var exit exec.CodeExitError
	if errors.As(err, &exit) {
		return exit.Code, nil
	}
	return 0, err
}

// terminals is a terminal's sizes, one after the other.
type terminals chan remotecommand.TerminalSize

func (t terminals) Next() *remotecommand.TerminalSize {
	size, ok := <-t
	if !ok {
		return nil
	}
	return &size
}

func TestExec(t *testing.T) {
	kubectlPath(t)
	n := startNode(t)
	n.apply("worker.yaml", worker)
	n.awaitPhase("worker", corev1.PodRunning)
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) { execOver(t, n, protocol) })
	}
	t.Run("kubectl", func(t *testing.T) { execByKubectl(t, n) })
	t.Run("many at once", func(t *testing.T) { manySessions(t, n) })
	t.Run("clients that leave", func(t *testing.T) { leavingClients(t, n) })
	t.Run("containers that end", func(t *testing.T) { endingContainers(t, n) })
}

func execOver(t *testing.T, n *node, protocol string) {
	var out, errs bytes.Buffer
	code, err := n.run(protocol, remotecommand.StreamOptions{Stdout: &out, Stderr: &errs},
		"sh", "-c", "echo $COLOUR; pwd; id -u; id -g; grep -E 'CapEff|Seccomp:' /proc/self/status; echo oops >&2; exit 42")
	if want := "green\n/tmp\n1234\n77\nCapEff:\t0000000000000000\nSeccomp:\t2\n"; code != 42 || err != nil || out.String() != want || errs.String() != "oops\n" {
		t.Errorf("exit code %d, error %v, stdout %q, stderr %q", code, err, out.String(), errs.String())
	}

	// The end of the input is told while the output goes on.
	out.Reset()
	code, err = n.run(protocol, remotecommand.StreamOptions{Stdin: strings.NewReader("one\ntwo\n"), Stdout: &out}, "sh", "-c", "wc -l; sleep 0.3; echo end")
	if code != 0 || err != nil || out.String() != "2\nend\n" {
		t.Errorf("half-close: exit code %d, error %v, stdout %q", code, err, out.String())
	}

	// A hundred megabytes there and back.
	const size = 100 << 20
	there, back := sha256.New(), sha256.New()
	input := io.TeeReader(io.LimitReader(rand.New(rand.NewSource(1)), size), there)
	var counted counter
	code, err = n.run(protocol, remotecommand.StreamOptions{Stdin: input, Stdout: io.MultiWriter(back, &counted)}, "cat")
	if code != 0 || err != nil || counted != size || !bytes.Equal(there.Sum(nil), back.Sum(nil)) {
		t.Errorf("exit code %d, error %v, %d bytes of %d came back, the same: %v", code, err, counted, size, bytes.Equal(there.Sum(nil), back.Sum(nil)))
	}

	// A terminal that changes its size.
	out.Reset()
	sizes := make(terminals, 2)
	sizes <- remotecommand.TerminalSize{Width: 91, Height: 17}
	in, feed := io.Pipe()
	screen := &screen{buffer: &out}
	go func() {
		screen.await("ready")
		io.WriteString(feed, "stty size\n")
		screen.await("17 91")
		sizes <- remotecommand.TerminalSize{Width: 120, Height: 40}
		for !screen.shows("40 120") {
			io.WriteString(feed, "stty size\n")
			time.Sleep(50 * time.Millisecond)
		}
		io.WriteString(feed, "test -t 0 && echo $TERM; exit 3\n")
	}()
	code, err = n.run(protocol, remotecommand.StreamOptions{Stdin: in, Stdout: screen, Tty: true, TerminalSizeQueue: sizes},
		"sh", "-c", "until stty size | grep -q 91; do sleep 0.05; done; echo ready; exec sh")
	feed.Close()
	if code != 3 || err != nil || !screen.shows("xterm") {
		t.Errorf("terminal: exit code %d, error %v, output %q", code, err, out.String())
	}

	code, err = n.run(protocol, remotecommand.StreamOptions{Stdout: &out}, "/no/such/program")
	if code != 0 || err == nil || !strings.Contains(err.Error(), "no such file or directory") || !strings.Contains(err.Error(), "error executing command in container: ") {
		t.Errorf("no such program: exit code %d, error %v", code, err)
	}
}

// counter counts what is written.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// screen is output that is waited for.
type screen struct {
	mu     sync.Mutex
	buffer *bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buffer.Write(p)
}

func (s *screen) shows(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Contains(s.buffer.String(), text)
}

// await waits until a text is shown, or for so long that the test fails otherwise.
func (s *screen) await(text string) {
	for deadline := time.Now().Add(patience); !s.shows(text) && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
}

func execByKubectl(t *testing.T, n *node) {
	expect := func(stdin, pattern string, args ...string) {
		t.Helper()
		out, _ := n.tryKubectl(stdin, args...)
		if !strings.Contains(out, pattern) {
			t.Errorf("kubectl %s: no %q in\n%s", strings.Join(args, " "), pattern, out)
		}
	}
	expect("", "green", "exec", "worker-n1", "--", "sh", "-c", "echo $COLOUR")
	expect("", `Defaulted container "main" out of: main, other, first (init)`, "exec", "worker-n1", "--", "true")
	expect("typed\n", "typed", "exec", "-i", "worker-n1", "-c", "other", "--", "cat")
	expect("", "command terminated with exit code 7", "exec", "worker-n1", "-c", "main", "--", "sh", "-c", "exit 7")
	expect("", "container nobody is not valid for pod worker-n1", "exec", "worker-n1", "-c", "nobody", "--", "true")
	expect("", `unable to upgrade connection: container not found ("first")`, "exec", "worker-n1", "-c", "first", "--", "true")
	expect("", `pods "nobody" not found`, "exec", "nobody", "--", "true")

	content := strings.Repeat("some lines of text\n", 10000)
	if err := os.WriteFile(n.path("there"), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	n.kubectl("cp", n.path("there"), "worker-n1:/tmp/copy", "-c", "other")
	n.kubectl("cp", "worker-n1:/tmp/copy", n.path("back"), "-c", "other")
	if back, err := os.ReadFile(n.path("back")); err != nil || string(back) != content {
		t.Errorf("kubectl cp: %v, %d bytes of %d", err, len(back), len(content))
	}

	n.apply("done.yaml", `
apiVersion: v1
kind: Pod
metadata: {name: done}
spec: {restartPolicy: Never, containers: [{name: main, image: busybox, imagePullPolicy: IfNotPresent, command: ["true"]}]}
`)
	n.awaitPhase("done", corev1.PodSucceeded)
	expect("", "cannot exec into a container in a completed pod; current phase is Succeeded", "exec", "done-n1", "--", "true")
}

func manySessions(t *testing.T, n *node) {
	const sessions = 100
	var work sync.WaitGroup
	for i := range sessions {
		work.Go(func() {
			var out bytes.Buffer
			want := fmt.Sprintf("session %d\n", i)
			code, err := n.run(protocols[i%2], remotecommand.StreamOptions{Stdin: strings.NewReader(want), Stdout: &out}, "cat")
			if code != 0 || err != nil || out.String() != want {
				t.Errorf("session %d: exit code %d, error %v, output %q", i, code, err, out.String())
			}
		})
	}
	work.Wait()
}

// leavingClients checks that a client that goes away ends the input of its process.
func leavingClients(t *testing.T, n *node) {
	for i, protocol := range protocols {
		ctx, cancel := context.WithCancel(t.Context())
		out := &screen{buffer: new(bytes.Buffer)}
		in, _ := io.Pipe()
		query := url.Values{"container": {"other"}, "command": {"sh", "-c", fmt.Sprintf("echo begun; cat; touch /tmp/left%d", i)}, "stdin": {"true"}, "stdout": {"true"}}
		done := make(chan error, 1)
		go func() {
			done <- n.session(protocol, "exec", "worker", query).StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: in, Stdout: out})
		}()
		out.await("begun")
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", protocol, err)
		}
		n.eventually(protocol+": the process has seen the end of its input", func() bool {
			_, err := n.tryKubectl("", "exec", "worker-n1", "-c", "other", "--", "test", "-e", fmt.Sprintf("/tmp/left%d", i))
			return err == nil
		})
	}
}

// endingContainers checks that sessions die with their container.
func endingContainers(t *testing.T, n *node) {
	n.apply("short.yaml", strings.Replace(worker, "name: worker", "name: short", 1))
	n.awaitPhase("short", corev1.PodRunning)
	done := make(chan error, len(protocols))
	var begun sync.WaitGroup
	for _, protocol := range protocols {
		out := &screen{buffer: new(bytes.Buffer)}
		in, _ := io.Pipe()
		query := url.Values{"container": {"main"}, "command": {"sh", "-c", "echo begun; exec sleep 100000"}, "stdin": {"true"}, "stdout": {"true"}}
		go func() {
			done <- n.session(protocol, "exec", "short", query).StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdin: in, Stdout: out})
		}()
		begun.Go(func() { out.await("begun") })
	}
	begun.Wait()
	n.remove("short.yaml")
	for range protocols {
		var exit exec.CodeExitError
		if err := <-done; !errors.As(err, &exit) || exit.Code != 137 {
			t.Errorf("a session of a container that was killed: %v", err)
		}
	}
}
