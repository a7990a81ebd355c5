// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"net"
	"os"
	"path/filepath"
	"testing"
)

// A socket that nobody listens at goes, one that a shim has stays.
func TestSocketsWithoutAShimAreRemoved(t *testing.T) {
	dir, err := os.MkdirTemp("", "mk") // short: socket paths are limited
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for _, name := range []string{"alive", "dead"} {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, name), Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if name == "dead" {
			l.SetUnlinkOnClose(false)
			l.Close()
		}
	}
	if err := removeDeaf(dir); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 || left[0].Name() != "alive" {
		t.Errorf("left: %v, %v", left, err)
	}
}
