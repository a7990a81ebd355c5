// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/minikubelet/minikubelet/"

// mayImport says which rooms the packages of a room may import, besides those of
// their own room; a room that is not named may import all. This is the rule of
// docs/architecture.md.
var mayImport = map[string][]string{
	"api": {}, "store": {}, "cgroups": {}, "volumes": {}, "network": {}, "runtime": {},
	"podmgr/plan": {}, "podmgr/pressure": {}, "podmgr/probe": {},
	"podmgr":      {"api", "store", "cgroups", "volumes", "network", "runtime", "podmgr/plan", "podmgr/pressure", "podmgr/probe"},
	"apiserver":   {"api", "store"},
	"agent/check": {"cgroups", "network", "runtime", "volumes"},
	"agent":       {"api", "store", "cgroups", "volumes", "network", "runtime", "podmgr", "podmgr/plan", "podmgr/pressure", "apiserver", "agent/check"},
}

// room is the part of the program that a package belongs to, without the module's name.
func room(pkg string) string {
	for len(pkg) > 0 {
		if _, ok := mayImport[pkg]; ok {
			return pkg
		}
		i := strings.LastIndex(pkg, "/")
		if i < 0 {
			return pkg
		}
		pkg = pkg[:i]
	}
	return ""
}

func goList(t *testing.T, args ...string) []string {
	t.Helper()
	out, err := exec.Command("go", append([]string{"list"}, args...)...).Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

func TestRoomsImportOnlyWhatTheyMay(t *testing.T) {
	seen := 0
	for _, line := range goList(t, "-f", `{{range .Imports}}{{$.ImportPath}} {{.}}{{"\n"}}{{end}}`, module+"...") {
		from, to, _ := strings.Cut(line, " ")
		from, ours := strings.CutPrefix(from, module)
		to, alsoOurs := strings.CutPrefix(to, module)
		if !ours || !alsoOurs {
			continue
		}
		seen++
		allowed, restricted := mayImport[room(from)]
		if restricted && room(from) != room(to) && !slices.Contains(allowed, room(to)) {
			t.Errorf("%s imports %s", from, to)
		}
	}
	if seen < 20 {
		t.Errorf("only %d imports were looked at", seen)
	}
}

// TestTheAgentLinksNoClient keeps packages out that cost megabytes and that a single
// convenient import brings along.
func TestTheAgentLinksNoClient(t *testing.T) {
	for _, pkg := range goList(t, "-deps", module+"cmd/minikubelet") {
		for _, heavy := range []string{
			"k8s.io/client-go/kubernetes", "k8s.io/client-go/applyconfigurations", "k8s.io/client-go/listers",
			"k8s.io/kubernetes/pkg/printers", "k8s.io/kubernetes/pkg/registry", "testing",
		} {
			if pkg == heavy || strings.HasPrefix(pkg, heavy+"/") {
				t.Errorf("%s is linked into the agent; go list -deps tells by whom", pkg)
			}
		}
	}
}
