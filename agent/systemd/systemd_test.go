// SPDX-License-Identifier: Apache-2.0

package systemd

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// listen is systemd's end.
func listen(t *testing.T, name string) func() string {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: name})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return func() string {
		t.Helper()
		_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
		text := make([]byte, 1024)
		n, err := conn.Read(text)
		if err != nil {
			t.Fatal(err)
		}
		return string(text[:n])
	}
}

func TestSystemdIsTold(t *testing.T) {
	for name, socket := range map[string]string{"a file": filepath.Join(t.TempDir(), "s"), "an abstract socket": "@minikubelet-test-" + strconv.Itoa(os.Getpid())} {
		told := listen(t, socket)
		t.Setenv(socketVariable, socket)
		u := FromEnvironment()
		if v, ok := os.LookupEnv(socketVariable); ok {
			t.Errorf("%s: children see %s=%s", name, socketVariable, v)
		}
		if err := u.Ready(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got, want := told(), "READY=1"; got != want {
			t.Errorf("%s: told %q, want %q", name, got, want)
		}
		if err := u.Stopping(90 * time.Second); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got, want := told(), "STOPPING=1\nEXTEND_TIMEOUT_USEC=90000000"; got != want {
			t.Errorf("%s: told %q, want %q", name, got, want)
		}
	}
}

func TestWithoutSystemdNobodyIsTold(t *testing.T) {
	t.Setenv(socketVariable, "")
	if err := FromEnvironment().Ready(); err != nil {
		t.Error(err)
	}
}

func TestSystemdThatDoesNotListenIsAnError(t *testing.T) {
	t.Setenv(socketVariable, filepath.Join(t.TempDir(), "nobody"))
	if FromEnvironment().Ready() == nil {
		t.Error("no error")
	}
}

// TestGoingDown has a systemctl of its own: it says the state and exits with 1, as the
// real one does unless all is well.
func TestGoingDown(t *testing.T) {
	for state, want := range map[string]bool{"running": false, "degraded": false, "stopping": true, "offline": false} {
		dir := t.TempDir()
		script := "#!/bin/sh\n[ \"$*\" = is-system-running ] && echo " + state + "\nexit 1\n"
		if err := os.WriteFile(filepath.Join(dir, "systemctl"), []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
		t.Setenv("PATH", dir)
		if got := GoingDown(context.Background()); got != want {
			t.Errorf("%s: %v", state, got)
		}
	}
	t.Setenv("PATH", t.TempDir())
	if GoingDown(context.Background()) {
		t.Error("without systemctl the machine goes down")
	}
}
