// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/google/nftables"

	"github.com/minikubelet/minikubelet/network"
	"github.com/minikubelet/minikubelet/runtime/engine"
)

// residue finds what Pods have on the machine while the node itself goes on: it
// has to be empty once the node has no Pods.
func (n *node) residue() []string {
	var left []string
	for what, pattern := range map[string]string{
		"runc state":   "run/runc/*/*",
		"bundle":       "run/containerd/io.containerd.runtime.v2.task/*/*",
		"namespaces":   "run/netns/*",
		"Pod":          "data/pods/*",
		"log":          "log/*",
		"exec":         "run/exec/*",
		"working area": "data/containerd/io.containerd.runtime.v2.task/*/*",
	} {
		found, _ := filepath.Glob(n.path(pattern))
		for _, path := range found {
			left = append(left, what+" "+path)
		}
	}
	if data, err := os.ReadFile("/proc/self/mountinfo"); err == nil {
		for line := range strings.Lines(string(data)) {
			if strings.Contains(line, n.dir+"/") {
				left = append(left, "mount "+strings.TrimSpace(line))
			}
		}
	}
	spares := 0
	for _, p := range n.processes() {
		switch {
		case isSpare(p):
			spares++
		case !n.ownProcess(p):
			left = append(left, "process "+p)
		}
	}
	if sockets, _ := filepath.Glob(n.path("run/containerd/s/*")); spares > 1 || len(sockets) != spares {
		left = append(left, fmt.Sprintf("%d shims that wait, with the sockets %v", spares, sockets))
	}
	left = append(left, n.podCgroups()...)
	left = append(left, n.veths()...)
	return append(left, n.mappings()...)
}

// pidOf reads a line of processes.
func pidOf(line string) int {
	pid, _ := strconv.Atoi(filepath.Base(strings.SplitN(line, ":", 2)[0]))
	return pid
}

// isSpare tells whether a line of processes is the shim that waits for the next
// sandbox: it is in the directory of the bundles, others are in theirs.
func isSpare(line string) bool {
	cwd, _ := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pidOf(line)))
	return filepath.Base(filepath.Dir(cwd)) == "io.containerd.runtime.v2.task"
}

// ownProcess tells whether a line of processes is the daemon or its engine.
func (n *node) ownProcess(line string) bool {
	pid := pidOf(line)
	return n.daemon != nil && pid == n.daemon.Process.Pid || n.external != nil && pid == n.external.Process.Pid
}

func (n *node) podCgroups() []string {
	var left []string
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.Contains(path, "/minikubelet-"+n.instance()+"/") && strings.HasPrefix(d.Name(), "pod") {
			left = append(left, "cgroup "+path)
			return fs.SkipDir
		}
		return nil
	})
	return left
}

// veths are the interfaces that hang on the node's bridge.
func (n *node) veths() []string {
	links, err := interfaces()
	if err != nil {
		return []string{"interfaces unknown: " + err.Error()}
	}
	bridge, left := -1, []string(nil)
	for _, l := range links {
		if l.Attrs().Name == network.BridgeName(n.instance()) {
			bridge = l.Attrs().Index
		}
	}
	for _, l := range links {
		if a := l.Attrs(); bridge >= 0 && a.MasterIndex == bridge {
			left = append(left, "interface "+a.Name+" "+a.Alias)
		}
	}
	return left
}

// mappings are the elements in the sets and maps of the node's nftables table,
// which are the hostPorts.
func (n *node) mappings() []string {
	c, err := nftables.New()
	if err != nil {
		return nil // without nftables there are none
	}
	tables, err := c.ListTables()
	if err != nil {
		return nil
	}
	var left []string
	for _, table := range tables {
		if !strings.HasSuffix(table.Name, n.instance()) {
			continue
		}
		sets, err := c.GetSets(table)
		if err != nil {
			return append(left, "nftables unknown: "+err.Error())
		}
		for _, set := range sets {
			if set.Anonymous {
				continue
			}
			elements, err := c.GetSetElements(set)
			if err != nil {
				return append(left, "nftables unknown: "+err.Error())
			}
			for _, e := range elements {
				left = append(left, fmt.Sprintf("nftables element %x in %s of %s (%s)", e.Key, set.Name, table.Name, e.Comment))
			}
		}
	}
	return left
}

// inEngine finds what the stopped node's engine still has of containers: records,
// active snapshots, leases.
func (n *node) inEngine() []string {
	n.t.Helper()
	e := n.openEngine()
	defer func() {
		if err := e.Close(); err != nil {
			n.t.Errorf("close the engine: %v", err)
		}
	}()
	ctx, client := e.Context(context.Background()), e.Client()
	var left []string
	containers, err := client.Containers(ctx)
	if err != nil {
		n.t.Fatal(err)
	}
	for _, c := range containers {
		left = append(left, "container record "+c.ID())
	}
	sandboxes, err := client.SandboxStore().List(ctx)
	if err != nil {
		n.t.Fatal(err)
	}
	for _, s := range sandboxes {
		left = append(left, "sandbox record "+s.ID)
	}
	err = client.SnapshotService("overlayfs").Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		if info.Kind != snapshots.KindCommitted {
			left = append(left, fmt.Sprintf("snapshot %s %s", info.Kind, info.Name))
		}
		return nil
	})
	if err != nil {
		n.t.Fatal(err)
	}
	return left
}

// openEngine opens the engine of a node whose daemon has ended, in this process.
func (n *node) openEngine() *engine.Engine {
	n.t.Helper()
	namespace, quiet := "minikubelet-"+n.instance(), slog.New(slog.DiscardHandler)
	var e *engine.Engine
	var err error
	if n.external != nil {
		e, err = engine.Connect(context.Background(), n.externalAddress(), namespace, quiet)
	} else {
		e, err = engine.Embedded(context.Background(), engine.Config{
			Root: n.path("data/containerd"), State: n.path("run/containerd"), Namespace: namespace, Log: quiet,
		})
	}
	if err != nil {
		n.t.Fatal(err)
	}
	return e
}
