// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A newcomer's mistakes are answered with what to do.
func TestManifestMistakes(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	huge := file("huge.yaml", "")
	if err := os.Truncate(huge, 100<<20); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ file, want string }{
		{"", "-f pod.yaml"},
		{"missing.yaml", "no such file in"},
		{filepath.Join(dir, "missing.yaml"), "missing.yaml: there is no such file"},
		{dir, "serve --manifests " + dir},
		{file("empty.yaml", ""), "at least one Pod"},
		{file("indent.yaml", "kind: Pod\n  metadata: x\n"), "indent.yaml: document 1, line 2: not valid YAML"},
		{file("kind.yaml", "apiVersion: v1\nkind: Deployment\n"), "manifests hold Pod"},
		{huge, "split it"},
		{"-", "standard input: document 1, line 1"},
	} {
		_, err := loadManifest(c.file, strings.NewReader("words"), io.Discard, "node1")
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v; want %q", c.file, err, c.want)
		}
	}
}

func TestCommandLineMistakes(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		{"run pod.yaml", "write minikubelet run -f pod.yaml"},
		{"plan pod.yaml", "write minikubelet plan -f pod.yaml"},
		{"check it", `check takes no argument, but got "it"`},
		{"plan --what", "minikubelet plan --help"},
		{"plan -o yaml", "must be json"},
		{"rum", "run"},
	} {
		cmd := root()
		cmd.SetArgs(strings.Fields(c.line))
		if err := cmd.Execute(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %q", c.line, err, c.want)
		}
	}
}

// The help of a command fits on a screen and says where the other flags are.
func TestHelpFitsOnAScreen(t *testing.T) {
	for _, name := range []string{"run", "serve", "stop", "check", "plan", "version", "kubeconfig", "image import", "image pull", "image ls", "image rm"} {
		var out bytes.Buffer
		cmd := root()
		cmd.SetOut(&out)
		cmd.SetArgs(append(strings.Fields(name), "--help"))
		if err := cmd.Execute(); err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(out.String(), "\n"); n > 30 || !strings.Contains(out.String(), "see minikubelet --help") {
			t.Errorf("%s --help has %d lines:\n%s", name, n, out.String())
		}
		for line := range strings.Lines(out.String()) {
			if len(line) > 101 {
				t.Errorf("%s --help: the line is too long: %s", name, line)
			}
		}
		if !strings.Contains(out.String(), "Examples:\n") {
			t.Errorf("%s --help has no example", name)
		}
	}
}
