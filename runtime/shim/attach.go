// SPDX-License-Identifier: Apache-2.0

package shim

import (
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/containerd/log"

	"github.com/minikubelet/minikubelet/runtime/attach"
)

const (
	// attachPatience is how long a client may keep the container waiting that takes no
	// output. Then the client loses its attachment, not the container its time.
	attachPatience = 5 * time.Second
	// attachMax bounds the clients attached to one task.
	attachMax = 64
)

// door is the socket through which clients attach to the shim's tasks.
type door struct {
	mu       sync.Mutex
	listener *net.UnixListener
}

// open listens, once for all tasks of the shim. What an earlier process has left at
// the path is replaced: a sandbox has one shim.
func (d *door) open(path string, tasks func(id string) *taskLog) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.listener != nil {
		return nil
	}
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("attach socket: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return fmt.Errorf("attach socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return fmt.Errorf("attach socket: %w", err)
	}
	d.listener = l
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // closed
			}
			go serveAttach(conn, tasks)
		}
	}()
	return nil
}

// close also removes the socket's file.
func (d *door) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.listener != nil {
		d.listener.Close()
	}
}

// serveAttach serves one client until it hangs up.
func serveAttach(raw net.Conn, tasks func(id string) *taskLog) {
	defer raw.Close()
	conn, r, err := attach.Accept(raw)
	if err != nil {
		log.L.WithError(err).Warn("attach")
		return
	}
	t := tasks(r.ID)
	if t == nil {
		_ = conn.Send(attach.Refused, []byte("the container has ended"), attachPatience) // it may be gone
		return
	}
	if err := t.audience.join(conn); err != nil {
		_ = conn.Send(attach.Refused, []byte(err.Error()), attachPatience)
		return
	}
	defer t.audience.leave(conn)
	if r.Stdin && r.Once {
		defer t.closeStdin()
	}
	for {
		kind, payload, err := conn.Next()
		if err != nil {
			return
		}
		switch {
		case kind != attach.Stdin || !r.Stdin:
		case len(payload) > 0:
			t.feed(payload)
		case r.Once:
			t.closeStdin()
		}
	}
}

// audience are the clients that see a task's output.
type audience struct {
	mu    sync.Mutex
	conns []*attach.Conn
	over  bool
}

// join adds a client, which sees all that is written after its first frame.
func (a *audience) join(c *attach.Conn) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.over:
		return fmt.Errorf("the container has ended")
	case len(a.conns) >= attachMax:
		return fmt.Errorf("%d clients are attached already", attachMax)
	}
	if err := c.Send(attach.Ready, nil, attachPatience); err != nil {
		return err
	}
	a.conns = append(a.conns, c)
	return nil
}

func (a *audience) leave(c *attach.Conn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.conns = slices.DeleteFunc(a.conns, func(other *attach.Conn) bool { return other == c })
}

// show sends output to all clients, at most attach.PayloadMax bytes. Who does not take
// it in time is sent away.
func (a *audience) show(kind attach.Kind, p []byte) {
	a.mu.Lock()
	conns := slices.Clone(a.conns) // nil when nobody looks
	a.mu.Unlock()
	for _, c := range conns {
		if c.Send(kind, p, attachPatience) != nil {
			a.leave(c)
			c.Close()
		}
	}
}

// end hangs up on all clients: there is no more to see.
func (a *audience) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.over = true
	for _, c := range a.conns {
		c.Close()
	}
	a.conns = nil
}
