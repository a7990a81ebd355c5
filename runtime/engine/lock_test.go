// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"os"
	"strings"
	"testing"
)

func TestLockNamesItsHolder(t *testing.T) {
	dir := t.TempDir()
	if _, held := Holder(dir); held {
		t.Fatal("a directory without a lock is held")
	}
	first, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Lock(dir)
	var locked *LockedError
	if !errors.As(err, &locked) {
		t.Fatalf("second Lock: %v, want a LockedError", err)
	}
	if locked.PID != os.Getpid() {
		t.Errorf("holder is %d, want %d", locked.PID, os.Getpid())
	}
	if !strings.Contains(err.Error(), dir) {
		t.Errorf("%q does not name the directory", err)
	}
	if pid, held := Holder(dir); !held || pid != os.Getpid() {
		t.Errorf("Holder = %d, %v", pid, held)
	}
	if err := first.Release(); err != nil {
		t.Fatal(err)
	}
	if _, held := Holder(dir); held {
		t.Error("still held after Release")
	}
	again, err := Lock(dir)
	if err != nil {
		t.Fatalf("Lock after Release: %v", err)
	}
	if err := again.Release(); err != nil {
		t.Error(err)
	}
}

// A lock file that a killed process left is no obstacle.
func TestLockAfterCrash(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/lock", []byte("4194304999\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Release()
	if pid, _ := Holder(dir); pid != os.Getpid() {
		t.Errorf("lock file says %d, want this process", pid)
	}
}
