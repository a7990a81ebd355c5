// SPDX-License-Identifier: Apache-2.0

//go:build packed

package engine

import (
	"os/exec"
	"strings"
	"testing"
)

// What `make build` packed comes out again and runs.
func TestPackedExecutables(t *testing.T) {
	paths, err := Binaries(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(paths.Runc, "--version").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "libseccomp") {
		t.Errorf("%s --version: %v, %s; want a runc with seccomp", paths.Runc, err, out)
	}
	if out, err := exec.Command(paths.Shim, "-v").CombinedOutput(); err != nil {
		t.Errorf("%s -v: %v, %s", paths.Shim, err, out)
	}
}
