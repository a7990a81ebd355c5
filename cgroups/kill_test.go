// SPDX-License-Identifier: Apache-2.0

package cgroups

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// TestKillMoreThanFilesMayBeOpen kills many processes one by one, as where there is
// no cgroup.kill, with a low limit of open files.
func TestKillMoreThanFilesMayBeOpen(t *testing.T) {
	const many = heldMost + heldMost/2
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	low := was
	low.Cur = heldMost + heldMost/4
	cmd := exec.Command("/bin/sh", "-c", fmt.Sprintf("i=0; while [ $i -lt %d ]; do sleep 1000 >/dev/null & echo $!; i=$((i+1)); done; wait", many))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var list bytes.Buffer
	for range many {
		var pid int
		if _, err := fmt.Fscanln(out, &pid); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&list, pid)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), list.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	pids, err := processes(dir)
	if err != nil || len(pids) != many {
		t.Fatalf("%d processes: %v", len(pids), err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	err = signalEach(dir, pids, syscall.SIGKILL)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Error(err)
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	if err := cmd.Wait(); err != nil { // it waits for them all
		t.Error(err)
	}
}
