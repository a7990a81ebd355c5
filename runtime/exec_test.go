// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

func TestExec(t *testing.T) {
	n := newNode(t)
	sandbox := n.runSandbox()

	t.Run("output and exit code", func(t *testing.T) {
		var stdout, stderr bytes.Buffer
		code, err := n.runtime.Exec(t.Context(), sandbox.ID, ExecOptions{Cmd: []string{"sh", "-c", "echo out; echo err >&2; exit 6"}, Stdout: &stdout, Stderr: &stderr})
		if code != 6 || err != nil || stdout.String() != "out\n" || stderr.String() != "err\n" {
			t.Errorf("exit code %d, error %v, stdout %q, stderr %q", code, err, stdout.String(), stderr.String())
		}
	})
	t.Run("no streams", func(t *testing.T) {
		if code, err := n.runtime.Exec(t.Context(), sandbox.ID, ExecOptions{Cmd: []string{"true"}}); code != 0 || err != nil {
			t.Errorf("exit code %d, error %v", code, err)
		}
	})
	t.Run("input to its end", func(t *testing.T) {
		var stdout bytes.Buffer
		input := strings.Repeat("0123456789abcdef", 64<<10)
		code, err := n.runtime.Exec(t.Context(), sandbox.ID, ExecOptions{Cmd: []string{"cat"}, Stdin: strings.NewReader(input), Stdout: &stdout})
		if code != 0 || err != nil || stdout.String() != input {
			t.Errorf("exit code %d, error %v, %d bytes of %d", code, err, stdout.Len(), len(input))
		}
	})
	t.Run("input that never ends", func(t *testing.T) {
		input, w := io.Pipe()
		defer w.Close()
		if code, err := n.runtime.Exec(t.Context(), sandbox.ID, ExecOptions{Cmd: []string{"sh", "-c", "exit 2"}, Stdin: input}); code != 2 || err != nil {
			t.Errorf("exit code %d, error %v", code, err)
		}
	})
	t.Run("terminal", func(t *testing.T) {
		var stdout bytes.Buffer
		resize := make(chan Size, 1)
		resize <- Size{Width: 91, Height: 17}
		options := ExecOptions{Cmd: []string{"sh", "-c", "sleep 0.5; stty size"}, Stdout: &stdout, TTY: true, Resize: resize}
		if code, err := n.runtime.Exec(t.Context(), sandbox.ID, options); code != 0 || err != nil || stdout.String() != "17 91\r\n" {
			t.Errorf("exit code %d, error %v, stdout %q", code, err, stdout.String())
		}
	})
	t.Run("context ends", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		begin := time.Now()
		if _, err := n.runtime.Exec(ctx, sandbox.ID, ExecOptions{Cmd: []string{"sleep", "1000"}}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		if took := time.Since(begin); took > 4*time.Second {
			t.Errorf("took %v", took)
		}
	})
	t.Run("command not found", func(t *testing.T) {
		if _, err := n.runtime.Exec(t.Context(), sandbox.ID, ExecOptions{Cmd: []string{"/none"}}); err == nil || !strings.Contains(err.Error(), "/none") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("no such container", func(t *testing.T) {
		if _, err := n.runtime.Exec(t.Context(), newID(), ExecOptions{Cmd: []string{"true"}}); !errors.Is(err, ErrNotFound) {
			t.Errorf("error %v", err)
		}
	})
	s, _ := n.runtime.Status(sandbox.ID)
	if s.State != StateRunning {
		t.Errorf("afterwards the container is %s", s.State)
	}
}
