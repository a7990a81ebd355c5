// SPDX-License-Identifier: Apache-2.0

package cgroups

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// A cgroup v2 mount that is not the machine's root and holds processes can hand
// on only what it handed on before.
func TestProbeV2(t *testing.T) {
	write := func(dir, name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	root, inner := t.TempDir(), t.TempDir()
	write(inner, "cgroup.type", "domain\n")
	write(inner, "cgroup.procs", "1\n")
	write(inner, "cgroup.subtree_control", "pids\n")
	all := []string{"cpu", "io", "memory", "pids"}

	m := probe([]hierarchy{{mount: root, controllers: all, v2: true}})
	if m.Mode != V2 || len(m.Missing) != 1 || m.Missing["hugetlb"] == "" || len(m.Busy) > 0 || m.Mounts["cpu"] != root {
		t.Errorf("the machine's root: %+v", m)
	}
	m = probe([]hierarchy{{mount: inner, controllers: all, v2: true}})
	if !reflect.DeepEqual(m.Busy, []string{inner}) || !reflect.DeepEqual(m.Mounts, map[string]string{"pids": inner}) || len(m.Missing) != 3 {
		t.Errorf("a busy cgroup: %+v", m)
	}
}

// Probe and Open agree about the machine.
func TestProbeAgreesWithOpen(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	tree, err := Open(Config{Root: "/minikubelet-test-probe"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := tree.Remove(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	m, err := Probe()
	if err != nil {
		t.Fatal(err)
	}
	if m.Mode != tree.Mode() || !reflect.DeepEqual(m.Missing, tree.Missing()) {
		t.Errorf("probe: %+v; open: %s, missing %v", m, tree.Mode(), tree.Missing())
	}
	if got, want := m.Options, tree.Options(); got.SwapControl != want.SwapControl || len(got.HugePageSizes) != len(want.HugePageSizes) {
		t.Errorf("options: probe %+v, open %+v", got, want)
	}
}
