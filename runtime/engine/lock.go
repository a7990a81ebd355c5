// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// LockedError says that another process holds the directory. PID is 0 when it
// could not be told.
type LockedError struct {
	Dir string
	PID int
}

func (e *LockedError) Error() string {
	holder := "another process"
	if e.PID > 0 {
		holder = fmt.Sprintf("process %d", e.PID)
	}
	return fmt.Sprintf("%s is in use by %s: stop it, or choose another directory", e.Dir, holder)
}

// DirLock is a held lock. The kernel drops it when the process ends, however
// that happens.
type DirLock struct{ file *os.File }

// Lock takes the exclusive lock of dir, which it creates when missing, without
// waiting; a *LockedError tells who holds it. The lock is the file "lock" in
// dir (flock(2)), with the holder's process ID inside.
func Lock(dir string) (*DirLock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		defer f.Close()
		return nil, &LockedError{Dir: dir, PID: holder(f)}
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return &DirLock{file: f}, nil
}

// holder reads the process ID from the lock file. The holder writes it just
// after it got the lock, so an empty file is looked at again for a moment.
func holder(f *os.File) int {
	for range 20 {
		data, err := io.ReadAll(io.NewSectionReader(f, 0, 32))
		if pid, aerr := strconv.Atoi(strings.TrimSpace(string(data))); err == nil && aerr == nil {
			return pid
		}
		time.Sleep(5 * time.Millisecond)
	}
	return 0
}

// Holder returns the process ID of whoever holds dir's lock, and false when
// nobody does or dir has no lock.
func Holder(dir string) (pid int, held bool) {
	f, err := os.Open(filepath.Join(dir, "lock"))
	if err != nil {
		return 0, false
	}
	defer f.Close()
	if unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) == nil {
		return 0, false
	}
	return holder(f), true
}

// Release gives the lock up. The file stays: removing it would race with the
// next holder.
func (l *DirLock) Release() error {
	err := l.file.Truncate(0)
	return errors.Join(err, l.file.Close())
}
