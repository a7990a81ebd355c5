// SPDX-License-Identifier: Apache-2.0

package cgroups

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// KillPod kills every process in the Pod's cgroup and those below it with SIGKILL,
// new ones included, and returns when none is left or ctx ends. It is safe for a
// Pod without a cgroup. Ended processes that their parent has not collected yet do
// not count.
func (t *Tree) KillPod(ctx context.Context, uid string) error {
	if err := checkUID(uid); err != nil {
		return err
	}
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		alive := 0
		for _, dir := range t.podDirs(uid) {
			n, err := killBelow(dir)
			if err != nil {
				return fmt.Errorf("killing what runs in the cgroup of pod %s: %w", uid, err)
			}
			alive += n
		}
		if alive == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("killing what runs in the cgroup of pod %s: %d processes left: %w", uid, alive, ctx.Err())
		case <-time.After(pause):
		}
	}
}

// EndContainer asks a container's first process by a signal to end, and returns when it
// has or ctx ends. at is the cgroup's path below the mounts, as ContainerPath has it.
// It is no error that the process has ended before and its number is another one's.
func (t *Tree) EndContainer(ctx context.Context, at string, pid int, sig unix.Signal) error {
	dir := filepath.Join(t.main, at)
	if err := signalEach(dir, []int{pid}, sig); err != nil {
		return fmt.Errorf("ending what runs in the cgroup %s: %w", at, err)
	}
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		left, err := processes(dir)
		if err != nil {
			return fmt.Errorf("ending what runs in the cgroup %s: %w", at, err)
		}
		if !slices.Contains(left, pid) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("ending what runs in the cgroup %s: process %d goes on after %s: %w", at, pid, unix.SignalName(sig), ctx.Err())
		case <-time.After(pause):
		}
	}
}

// killBelow sends SIGKILL to all processes in dir and below, and returns how many
// it found.
func killBelow(dir string) (int, error) {
	pids, err := processes(dir)
	if err != nil || len(pids) == 0 {
		return 0, err
	}
	// v2: the kernel kills all at once, and forks cannot escape.
	if writeFile(filepath.Join(dir, "cgroup.kill"), "1") == nil {
		return len(pids), nil
	}
	// v1: no new ones may come while we kill. Where there is no pids controller the
	// caller's loop has to win the race.
	_ = writeFile(filepath.Join(dir, "pids.max"), "0")
	return len(pids), signalEach(dir, pids, unix.SIGKILL)
}

// heldMost is how many processes are held at a time, of which each takes a file.
const heldMost = 256

// signalEach signals each of pids that is still in dir or below.
func signalEach(dir string, pids []int, sig unix.Signal) error {
	for some := range slices.Chunk(pids, heldMost) {
		if err := signalSome(dir, some, sig); err != nil {
			return err
		}
	}
	return nil
}

// signalSome is signalEach for no more than heldMost. The process is held by a file
// descriptor before its membership is checked again, so that a number which has passed
// to another process meanwhile hits nobody.
func signalSome(dir string, pids []int, sig unix.Signal) error {
	held := map[int]int{}
	defer func() {
		for _, fd := range held {
			unix.Close(fd)
		}
	}()
	for _, pid := range pids {
		if fd, err := unix.PidfdOpen(pid, 0); err == nil {
			held[pid] = fd
		} else if !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("process %d: %w", pid, err)
		}
	}
	still, err := processes(dir)
	if err != nil {
		return err
	}
	for pid, fd := range held {
		if !slices.Contains(still, pid) {
			continue
		}
		if err := unix.PidfdSendSignal(fd, sig, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("process %d: %w", pid, err)
		}
	}
	return nil
}

// processes returns the IDs of the processes in dir and below. Directories that
// vanish on the way are passed over.
func processes(dir string) ([]int, error) {
	var pids []int
	err := filepath.WalkDir(dir, func(at string, e fs.DirEntry, err error) error {
		if isNotExist(err) {
			return nil
		}
		if err != nil || !e.IsDir() {
			return err
		}
		data, err := os.ReadFile(filepath.Join(at, "cgroup.procs"))
		if err != nil && !isNotExist(err) && !errors.Is(err, unix.ENODEV) {
			return err
		}
		for _, word := range bytes.Fields(data) {
			if pid, err := strconv.Atoi(string(word)); err == nil && pid > 0 {
				pids = append(pids, pid)
			}
		}
		return nil
	})
	return pids, err
}
