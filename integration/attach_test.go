// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/remotecommand"
)

const talkers = `
apiVersion: v1
kind: Pod
metadata: {name: talker}
spec:
  terminationGracePeriodSeconds: 0
  restartPolicy: Never
  containers:
  - {name: many, image: busybox, imagePullPolicy: IfNotPresent, stdin: true, command: [sh, -c, 'echo begun; while read x; do echo "many $x"; done']}
  - {name: once, image: busybox, imagePullPolicy: IfNotPresent, stdin: true, stdinOnce: true, command: [sh, -c, 'cat; echo at the end; exit 3']}
  - {name: deaf, image: busybox, imagePullPolicy: IfNotPresent, command: [sh, -c, 'cat; while sleep 0.1; do echo tick; done']}
  - {name: shell, image: busybox, imagePullPolicy: IfNotPresent, stdin: true, tty: true, command: [sh]}
`

// attached is a client of attach.
type attached struct {
	out  *screen
	in   *io.PipeWriter
	done chan error
}

func (n *node) attach(ctx context.Context, protocol, container string, tty bool, sizes terminals) attached {
	query := url.Values{"container": {container}, "stdin": {"true"}, "stdout": {"true"}, "stderr": {"true"}}
	r, w := io.Pipe()
	a := attached{out: &screen{buffer: new(bytes.Buffer)}, in: w, done: make(chan error, 1)}
	o := remotecommand.StreamOptions{Stdin: r, Stdout: a.out, Stderr: a.out}
	if tty {
		query.Set("tty", "true")
		query.Del("stderr")
		o.Tty, o.Stderr, o.TerminalSizeQueue = true, nil, sizes
	}
	e := n.session(protocol, "attach", "talker", query)
	go func() { a.done <- e.StreamWithContext(ctx, o) }()
	return a
}

// says sends a line until it has an effect: what was sent while nobody was attached
// yet is not lost, but what was answered is.
func (a attached) says(line, want string) {
	fmt.Fprintln(a.in, line)
	a.out.await(want)
}

func TestAttach(t *testing.T) {
	kubectlPath(t)
	n := startNode(t)
	n.apply("talker.yaml", talkers)
	pod := n.awaitPhase("talker", corev1.PodRunning)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			ctx, cancel := context.WithCancel(ctx)
			one, two := n.attach(ctx, protocol, "many", false, nil), n.attach(ctx, protocol, "many", false, nil)
			one.says("hello", "many hello")
			two.says("there", "many there")
			one.out.await("many there")
			if !one.out.shows("many there") {
				t.Errorf("one of two clients has seen %q", one.out.buffer.String())
			}
			one.in.Close() // the attachment ends, not the container's input
			if err := <-one.done; err != nil {
				t.Errorf("a client that has said its last: %v", err)
			}
			two.says("still", "many still")
			if !two.out.shows("many still") {
				t.Errorf("the other client has seen %q", two.out.buffer.String())
			}
			deaf := n.attach(ctx, protocol, "deaf", false, nil)
			deaf.out.await("tick")
			cancel()
			for _, a := range []attached{two, deaf} {
				if err := <-a.done; !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			}
		})
	}

	// A container that nobody is attached to goes on while there is no agent, and can be
	// attached to again.
	n.kill()
	n.start()
	again := n.attach(ctx, "websocket", "many", false, nil)
	again.says("after", "many after")
	sizes := make(terminals, 1)
	sizes <- remotecommand.TerminalSize{Width: 77, Height: 33}
	shell := n.attach(ctx, "websocket", "shell", true, sizes)
	shell.says("until stty size | grep 77; do sleep 0.1; done", "33 77")
	shell.says("tty", "/dev/pts")
	if !again.out.shows("many after") || !shell.out.shows("33 77") || !shell.out.shows("/dev/pts") {
		t.Errorf("after a restart: %q and %q", again.out.buffer.String(), shell.out.buffer.String())
	}

	once := n.attach(ctx, "websocket", "once", false, nil)
	once.says("all of it", "all of it")
	once.in.Close()
	if err := <-once.done; err != nil || !once.out.shows("at the end") {
		t.Errorf("stdinOnce: %v, %q", err, once.out.buffer.String())
	}
	n.awaitPod("talker", "once has ended", func(p *corev1.Pod) bool {
		for _, s := range p.Status.ContainerStatuses {
			if s.Name == "once" && s.State.Terminated != nil {
				return s.State.Terminated.ExitCode == 3
			}
		}
		return false
	})
	if out, err := n.tryKubectl("", "attach", "talker-n1", "-c", "once"); err == nil || !strings.Contains(out, "container once not found in pod talker-n1_default") {
		t.Errorf("attach to what has ended: %v %s", err, out)
	}
	if got := strings.Join(n.log(pod, "many", 0), ","); got != "begun,many hello,many there,many still,many hello,many there,many still,many after" {
		t.Errorf("the log has %s", got)
	}
}

func TestKubectlRunInteractively(t *testing.T) {
	kubectlPath(t)
	n := startNode(t)
	image := []string{"--image=busybox", "--image-pull-policy=IfNotPresent", "--restart=Never"}

	out, err := n.tryKubectl("one\ntwo\n", append([]string{"run", "piped", "-i", "--rm", "--quiet", "--pod-running-timeout=3m"}, append(image, "--", "sh", "-c", "wc -l; exit 5")...)...)
	var exit *exec.ExitError
	if !strings.Contains(out, "2\n") || !errors.As(err, &exit) || exit.ExitCode() != 5 {
		t.Errorf("run -i --rm: %v\n%s", err, out)
	}

	typed := n.typed(append([]string{"run", "typed", "-it", "--rm", "--pod-running-timeout=3m"}, append(image, "--", "sh")...)...)
	typed.shown.await("pressing enter")
	// kubectl sends a size that is one too large first, so that programs draw anew.
	fmt.Fprint(typed.keys, "until stty size | grep -q '^24 80$'; do sleep 0.1; done; echo $((6*7)) $(stty size)\n")
	typed.shown.await("42 24 80")
	fmt.Fprint(typed.keys, "exit 0\n")
	if err := typed.wait(); err != nil || !typed.shown.shows("42 24 80") || !typed.shown.shows(`pod "typed" deleted`) {
		t.Errorf("run -it --rm: %v\n%s", err, typed.shown.buffer.String())
	}
}

// typed is kubectl at a terminal: what is typed, and what is shown.
type typed struct {
	keys  *os.File
	shown *screen
	wait  func() error // for its end, which closes the terminal
}

func (n *node) typed(args ...string) typed {
	n.t.Helper()
	terminal, name := openTerminal(n.t)
	side, err := os.OpenFile(name, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		n.t.Fatal(err)
	}
	cmd := n.kubectlCommand(args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = side, side, side
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	side.Close()
	shown := &screen{buffer: new(bytes.Buffer)}
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(shown, terminal) // EIO once nobody has the other side
	}()
	return typed{keys: terminal, shown: shown, wait: func() error {
		err := cmd.Wait()
		terminal.Close()
		<-read
		return err
	}}
}

// openTerminal makes a pseudo-terminal of 24 lines and 80 columns, and returns it with
// the path of its other side.
func openTerminal(t *testing.T) (*os.File, string) {
	t.Helper()
	f, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	n, err := unix.IoctlGetInt(int(f.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(f.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(int(f.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80})
	}
	if err != nil {
		t.Fatal(err)
	}
	return f, fmt.Sprintf("/dev/pts/%d", n)
}

// Logs that are followed end with the Pod.
func TestFollowedLogsEndWithThePod(t *testing.T) {
	kubectlPath(t)
	n := startNode(t)
	n.apply("ticker.yaml", ticker)
	n.awaitPhase("ticker", corev1.PodRunning)
	cmd := n.kubectlCommand("logs", "-f", "ticker-n1")
	out := &screen{buffer: new(bytes.Buffer)}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out.await("tick")
	n.remove("ticker.yaml")
	if err := cmd.Wait(); err != nil {
		t.Errorf("logs -f: %v\n%s", err, out.buffer.String())
	}
	n.awaitGone("ticker")
}
