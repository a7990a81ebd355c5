// SPDX-License-Identifier: Apache-2.0

package shim

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/api/services/tasks/v1"

	"github.com/minikubelet/minikubelet/runtime/attach"
)

// client is attached to a task.
type client struct {
	t    *testing.T
	conn *attach.Conn
	out  bytes.Buffer
}

func (r *rig) attach(t *testing.T, request attach.Request) *client {
	t.Helper()
	conn, err := attach.Dial(t.Context(), filepath.Join(r.State, "attach"), request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &client{t: t, conn: conn}
}

func (c *client) send(text string) {
	c.t.Helper()
	if err := c.conn.Send(attach.Stdin, []byte(text), 0); err != nil {
		c.t.Fatal(err)
	}
}

// expect reads until the output ends with the text.
func (c *client) expect(text string) {
	c.t.Helper()
	for !strings.HasSuffix(c.out.String(), text) {
		_, p, err := c.conn.Next()
		if err != nil {
			c.t.Fatalf("%v before %q: %q", err, text, c.out.String())
		}
		c.out.Write(p)
	}
}

// end reads to the end, which may be in the middle of a frame.
func (c *client) end() string {
	c.t.Helper()
	for {
		_, p, err := c.conn.Next()
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return c.out.String()
		}
		if err != nil {
			c.t.Fatal(err)
		}
		c.out.Write(p)
	}
}

// stopEngine ends the engine; tasks go on.
func (r *rig) stopEngine(t *testing.T) {
	t.Helper()
	r.stopped = true
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestAttach(t *testing.T) {
	b := newBench(t)
	r := b.start(t)
	r.run(t, taskSpec{id: "a", script: "cat; echo end >&2", stdin: true})
	one, two := r.attach(t, attach.Request{ID: "a", Stdin: true}), r.attach(t, attach.Request{ID: "a"})
	one.send("one\n")
	one.expect("one\n")
	two.expect("one\n") // everybody sees it
	if err := one.conn.Close(); err != nil {
		t.Fatal(err)
	}
	three := r.attach(t, attach.Request{ID: "a", Stdin: true})
	three.send("two\n")
	three.send("") // no end: others may come
	three.send("three\n")
	three.expect("two\nthree\n")

	// The task's life goes on without the engine.
	r.stopEngine(t)
	three.send("four\n")
	three.expect("four\n")
	r = b.start(t)
	four := r.attach(t, attach.Request{ID: "a", Stdin: true})
	four.send("five\n")
	four.expect("five\n")

	if _, err := r.Client().TaskService().CloseIO(r.ctx, &tasks.CloseIORequest{ContainerID: "a", Stdin: true}); err != nil {
		t.Fatal(err)
	}
	if got, want := two.end(), "one\ntwo\nthree\nfour\nfive\nend\n"; got != want {
		t.Errorf("a client has seen %q, not %q", got, want)
	}
	r.wait(t, "a")
	r.deleteTask(t, "a")
	if stdout, stderr := b.text(t, "a"); stdout != "one\ntwo\nthree\nfour\nfive\n" || stderr != "end\n" {
		t.Errorf("logged %q and %q", stdout, stderr)
	}
	waitFor(t, "the socket to go", func() bool {
		_, err := os.Lstat(filepath.Join(r.State, "attach"))
		return os.IsNotExist(err)
	})
}

func TestInputThatEndsWithItsClient(t *testing.T) {
	b := newBench(t)
	r := b.start(t)
	r.run(t, taskSpec{id: "pause", script: "exec sleep 1000", uri: "null"})
	for name, leave := range map[string]func(c *client){
		"said": func(c *client) { c.send("") },
		"gone": func(c *client) { c.conn.Close() },
	} {
		r.run(t, taskSpec{id: name, sandbox: "pause", script: "cat; exit 7", stdin: true})
		c := r.attach(t, attach.Request{ID: name, Stdin: true, Once: true})
		c.send("all\n")
		c.expect("all\n")
		leave(c)
		if code := r.wait(t, name); code != 7 {
			t.Errorf("%s: exit code %d", name, code)
		}
		r.deleteTask(t, name)
	}
	if _, err := attach.Dial(t.Context(), filepath.Join(r.State, "attach"), attach.Request{ID: "said"}); err == nil || err.Error() != "the container has ended" {
		t.Errorf("attach to what has ended: %v", err)
	}
}

func TestAttachToTerminal(t *testing.T) {
	b := newBench(t)
	r := b.start(t)
	r.run(t, taskSpec{id: "a", script: "stty -echo; echo ready; read x; echo got $x; tty; exit 4", terminal: true, stdin: true})
	c := r.attach(t, attach.Request{ID: "a", Stdin: true})
	waitFor(t, "the terminal to be ready", func() bool { stdout, _ := b.text(t, "a"); return strings.Contains(stdout, "ready") })
	c.send("this\n")
	if out := c.end(); !strings.Contains(out, "got this\r\n/dev/") {
		t.Errorf("shown: %q", out)
	}
	if code := r.wait(t, "a"); code != 4 {
		t.Errorf("exit code %d, want 4", code)
	}
	r.deleteTask(t, "a")
}

// A client that takes nothing is sent away; the container goes on, and its log is whole.
func TestClientThatTakesNothing(t *testing.T) {
	b := newBench(t)
	r := b.start(t)
	r.run(t, taskSpec{id: "a", script: "read go; yes 0123456789abcdef | head -c 3000000; echo; exit 5", stdin: true, max: 100_000_000})
	idle := r.attach(t, attach.Request{ID: "a"})
	busy := r.attach(t, attach.Request{ID: "a", Stdin: true})
	busy.send("go\n")
	seen := busy.end()
	if code := r.wait(t, "a"); code != 5 || len(seen) != 3_000_001 {
		t.Errorf("exit code %d; the other client has seen %d bytes", code, len(seen))
	}
	r.deleteTask(t, "a")
	if stdout, _ := b.text(t, "a"); len(stdout) != 3_000_001 {
		t.Errorf("logged %d bytes", len(stdout))
	}
	if n := len(idle.end()); n >= 3_000_000 {
		t.Errorf("the client that took nothing has %d bytes", n)
	}
}
