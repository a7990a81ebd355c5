// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"bytes"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
)

func TestFrames(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		raw, err := l.Accept()
		if err != nil {
			done <- err
			return
		}
		defer raw.Close()
		c, r, err := Accept(raw)
		if err == nil && r != (Request{ID: "abc", Stdin: true}) {
			err = errors.New("the request is another one")
		}
		if err == nil {
			err = c.Send(Ready, nil, 0)
		}
		for err == nil { // sends the input back
			var kind Kind
			var p []byte
			if kind, p, err = c.Next(); err == nil && kind == Stdin && len(p) == 0 {
				break
			} else if err == nil {
				err = c.Send(Stdout, p, 0)
			}
		}
		done <- err
	}()
	c, err := Dial(t.Context(), path, Request{ID: "abc", Stdin: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, text := range []string{"x", strings.Repeat("long", PayloadMax/4), "y"} {
		if err := c.Send(Stdin, []byte(text), 0); err != nil {
			t.Fatal(err)
		}
		if kind, p, err := c.Next(); kind != Stdout || string(p) != text || err != nil {
			t.Errorf("kind %d, %d bytes of %d, %v", kind, len(p), len(text), err)
		}
	}
	if err := c.Send(Stdin, nil, 0); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, _, err := c.Next(); err != io.EOF {
		t.Errorf("after the end: %v", err)
	}
}

func FuzzAccept(f *testing.F) {
	f.Add([]byte(`{"id":"a"}` + "\n" + "\x01\x00\x00\x00\x01x"))
	f.Add([]byte("\n\x01\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		here, there := net.Pipe()
		go func() {
			_, _ = io.Copy(there, bytes.NewReader(data)) // the other end may give up
			_ = there.Close()
		}()
		defer here.Close()
		c, _, err := Accept(here)
		for err == nil {
			var p []byte
			if _, p, err = c.Next(); len(p) > PayloadMax {
				t.Errorf("a payload of %d bytes", len(p))
			}
		}
	})
}
