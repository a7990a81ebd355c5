// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSocketDir(t *testing.T) {
	if got := SocketDir("/run/minikubelet/c"); got != "/run/minikubelet/c/s" {
		t.Errorf("short state directory: %s", got)
	}
	long := "/run/" + strings.Repeat("x", 60)
	if got := SocketDir(long); len(got) > maxSocketDir || got == SocketDir(long+"y") || got != SocketDir(long+"/") {
		t.Errorf("long state directory: %s; it must be short, its own, and the same each time", got)
	}
}

func TestEmbeddedRefusesBadConfig(t *testing.T) {
	for name, cfg := range map[string]Config{
		"relative":   {Root: "root", State: "/run/x"},
		"same":       {Root: "/run/x", State: "/run/x"},
		"too long":   {Root: "/run/r", State: "/run/" + strings.Repeat("x", 100)},
		"name space": {Root: "/run/r", State: "/run/x", Namespace: "../other"},
	} {
		if e, err := Embedded(context.Background(), cfg); err == nil {
			_ = e.Close()
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestConnectWithoutContainerd(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "none.sock")
	e, err := Connect(context.Background(), socket, "", nil)
	if err == nil {
		_ = e.Close()
		t.Fatal("connected to nothing")
	}
	if !strings.Contains(err.Error(), socket) {
		t.Errorf("%q does not name the address", err)
	}
	// A file that nobody listens on.
	if err := os.WriteFile(socket, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if e, err := Connect(ctx, "unix://"+socket, "", nil); err == nil {
		_ = e.Close()
		t.Error("connected to a plain file")
	}
}
