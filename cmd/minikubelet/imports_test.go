// SPDX-License-Identifier: Apache-2.0

package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os/exec"
	"path/filepath"
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
	"podmgr/plan": {}, "podmgr/pressure": {"podmgr/plan"}, "podmgr/probe": {},
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

func TestRoomsImportOnlyWhatTheyMay(t *testing.T) {
	seen := 0
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		from, err := filepath.Rel("../..", filepath.Dir(path))
		for _, imported := range file.Imports {
			to, ours := strings.CutPrefix(strings.Trim(imported.Path.Value, `"`), module)
			if !ours {
				continue
			}
			seen++
			allowed, restricted := mayImport[room(from)]
			if restricted && room(from) != room(to) && !slices.Contains(allowed, room(to)) {
				t.Errorf("%s imports %s", path, to)
			}
		}
		return err
	})
	if err != nil || seen < 100 {
		t.Errorf("%d imports were looked at: %v", seen, err)
	}
}

// TestTheAgentLinksNoClient keeps packages out that cost megabytes and that a single
// convenient import brings along.
func TestTheAgentLinksNoClient(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", module+"cmd/minikubelet").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for _, pkg := range strings.Fields(string(out)) {
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
