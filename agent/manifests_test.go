// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/minikubelet/minikubelet/store"
)

// configMap is a manifest of the ConfigMap default/c, with a value of one letter.
func configMap(value string) string {
	return "{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {k: \"" + value + "\"}}"
}

func TestUnreadableManifestDirectoryEndsNothing(t *testing.T) {
	b := newFileBench(t)
	b.write("a.yaml", configMap("x"))
	want := b.have()
	m := newManifests(b.dir+"/missing", "n1", b.s, nil, slog.New(slog.DiscardHandler))
	if err := m.look(); err == nil || !strings.Contains(err.Error(), "missing") {
		t.Errorf("looking at a directory that is not there: %v", err)
	}
	if got := b.have(); got != want {
		t.Errorf("stored %q, not %q", got, want)
	}
}

func TestNamedPipeIsNoManifest(t *testing.T) {
	b := newFileBench(t)
	if err := unix.Mkfifo(filepath.Join(b.dir, "pipe.yaml"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.write("a.yaml", configMap("x"))
	if got, want := b.have(), "ConfigMap default/c map[k:x] from a.yaml"; got != want {
		t.Errorf("stored %q, not %q", got, want)
	}
	if !strings.Contains(b.log.String(), "pipe.yaml: not a regular file") {
		t.Errorf("the log does not tell of the pipe:\n%s", b.log.String())
	}
}

func TestReplacedManifestOfSameSizeAndTimeIsRead(t *testing.T) {
	b := newFileBench(t)
	b.write("a.yaml", configMap("x"))
	path := filepath.Join(b.dir, "a.yaml")
	old, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		os.WriteFile(path+".new", []byte(configMap("y")), 0o600),
		os.Chtimes(path+".new", old.ModTime(), old.ModTime()),
		os.Rename(path+".new", path),
		b.m.look(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if got, want := b.have(), "ConfigMap default/c map[k:y] from a.yaml"; got != want {
		t.Errorf("stored %q, not %q", got, want)
	}
}

func TestManifestDirectoryMadeAnewIsFollowed(t *testing.T) {
	b := newFileBench(t)
	b.m.dir = filepath.Join(b.dir, "manifests")
	ctx, cancel := context.WithCancel(t.Context())
	watch := b.s.Watch("configmaps", b.s.Revision())
	defer watch.Close()
	done := make(chan error, 1)
	go func() { done <- b.m.run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	next := func(want store.EventType) {
		t.Helper()
		event, err := watch.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if event.Type != want {
			t.Errorf("got %v, not %v", event.Type, want)
		}
	}
	// bring puts a directory with a file in place at once.
	bring := func(value string) {
		t.Helper()
		fresh := filepath.Join(b.dir, value)
		for _, err := range []error{
			os.Mkdir(fresh, 0o700),
			os.WriteFile(filepath.Join(fresh, "a.yaml"), []byte(configMap(value)), 0o600),
			os.RemoveAll(b.m.dir),
			os.Rename(fresh, b.m.dir),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	bring("x")
	next(store.Added)
	bring("y")
	next(store.Modified)
	if err := os.WriteFile(filepath.Join(b.m.dir, "a.yaml"), []byte(configMap("z")), 0o600); err != nil {
		t.Fatal(err)
	}
	next(store.Modified)
}

// TestUnreadableManifestIsTriedAgain has a file become readable without an event, when
// the directory has been looked at.
func TestUnreadableManifestIsTriedAgain(t *testing.T) {
	b := newFileBench(t)
	b.m.readAgain = time.Millisecond
	target := filepath.Join(t.TempDir(), "a.yaml")
	other := strings.ReplaceAll(configMap("x"), "name: c", "name: other")
	for _, err := range []error{
		os.Symlink(target, filepath.Join(b.dir, "a.yaml")),
		os.WriteFile(target+".new", []byte(configMap("x")), 0o600),
		os.WriteFile(filepath.Join(b.dir, "b.yaml"), []byte(other), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	watch := b.s.Watch("configmaps", b.s.Revision())
	defer watch.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.m.run(ctx) }()
	next := func(want string) {
		t.Helper()
		if e, err := watch.Next(t.Context()); err != nil || e.Object.GetName() != want {
			t.Fatalf("%v, %v, want %s", e, err, want)
		}
	}
	next("other")
	if err := os.Rename(target+".new", target); err != nil {
		t.Fatal(err)
	}
	next("c")
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if b.m.unreadable {
		t.Error("it is still unreadable")
	}
}

func TestFailedReadIsNoted(t *testing.T) {
	for want, r := range map[bool]io.Reader{false: strings.NewReader("x"), true: iotest.ErrReader(unix.EIO)} {
		n := &noted{Reader: r}
		_, _ = io.ReadAll(n) // it is about what is noted
		if n.failed != want {
			t.Errorf("noted: %v, want %v", n.failed, want)
		}
	}
}
