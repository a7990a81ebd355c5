// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/minikubelet/minikubelet/network"
	"github.com/minikubelet/minikubelet/runtime/image/imagetest"
)

// program is the built executable, or the one that MINIKUBELET_TEST_PROGRAM names.
func program(t *testing.T) string {
	t.Helper()
	built := "../bin/minikubelet"
	if other := os.Getenv("MINIKUBELET_TEST_PROGRAM"); other != "" {
		built = other
	}
	path, err := filepath.Abs(built)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v; run make build first", err)
	}
	return path
}

var madeArchive struct {
	once sync.Once
	path string
	err  error
}

// archive is an OCI archive of busybox, made once for all tests.
func archive(t *testing.T) string {
	t.Helper()
	madeArchive.once.Do(func() {
		dir, err := os.MkdirTemp("", "mkimg")
		if err != nil {
			madeArchive.err = err
			return
		}
		madeArchive.path = filepath.Join(dir, "busybox.tar")
		f, err := os.Create(madeArchive.path)
		if err != nil {
			madeArchive.err = err
			return
		}
		if madeArchive.err = imagetest.Build(f, imagetest.Options{Name: "docker.io/library/busybox:latest"}); madeArchive.err == nil {
			madeArchive.err = f.Close()
		}
	})
	if madeArchive.err != nil {
		t.Fatal(madeArchive.err)
	}
	return madeArchive.path
}

func TestMain(m *testing.M) {
	code := m.Run()
	if madeArchive.path != "" {
		_ = os.RemoveAll(filepath.Dir(madeArchive.path))
	}
	os.Exit(code)
}

// leftovers finds what the node still has on the machine: mounts, processes,
// cgroups, interfaces.
func (n *node) leftovers() []string {
	var left []string
	if data, err := os.ReadFile("/proc/self/mountinfo"); err == nil {
		for line := range strings.Lines(string(data)) {
			if strings.Contains(line, n.dir+"/") {
				left = append(left, "mount "+strings.TrimSpace(line))
			}
		}
	}
	for _, p := range n.processes() {
		if n.external == nil || pidOf(p) != n.external.Process.Pid { // which is the test's own, not the node's
			left = append(left, p)
		}
	}
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.HasPrefix(d.Name(), "minikubelet-"+n.instance()) {
			left = append(left, "cgroup "+path)
			return fs.SkipDir
		}
		return nil
	})
	links, err := interfaces()
	if err != nil {
		left = append(left, "interfaces unknown: "+err.Error())
	}
	for _, l := range links {
		fields := strings.Fields(l.Attrs().Alias)
		ours := len(fields) > 1 && fields[0] == "minikubelet" && n.seen[fields[1]]
		if l.Attrs().Name == network.BridgeName(n.instance()) || ours {
			left = append(left, "interface "+l.Attrs().Name)
		}
	}
	return left
}

// interfaces are those of the machine; another test may be changing some, and the
// kernel's list then lack others.
func interfaces() (links []netlink.Link, err error) {
	for range 10 {
		if links, err = netlink.LinkList(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return links, err
}

// instance is the node's short name on the machine, as docs/operations.md has it:
// the first eight digits of the data directory's SHA-256.
func (n *node) instance() string {
	sum := sha256.Sum256([]byte(n.path("data")))
	return hex.EncodeToString(sum[:4])
}

// processes finds processes that were started with a path of the node.
func (n *node) processes() []string {
	var left []string
	list, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range list {
		data, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(data), n.dir+"/") {
			left = append(left, filepath.Dir(path)+": "+strings.ReplaceAll(string(data), "\x00", " "))
		}
	}
	return left
}
