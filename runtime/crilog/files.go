// SPDX-License-Identifier: Apache-2.0

package crilog

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// rotatedFormat is the kubelet's suffix of a rotated log.
const rotatedFormat = "20060102-150405"

// counterFormat follows it when more than one file is rotated in a second.
const counterFormat = ".%06d"

// Rotated returns the full paths of path's rotated files, oldest first. A
// directory that does not exist holds none.
func Rotated(path string) ([]string, error) {
	// The names alone are read: a log directory is small, but it is read at
	// each rotation and by each reader, and needs no file attributes.
	dir, err := os.Open(filepath.Dir(path))
	if os.IsNotExist(err) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("rotated logs: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("rotated logs: %w", err)
	}
	prefix := filepath.Base(path) + "."
	var rotated []string
	for _, name := range names {
		if suffix, ok := strings.CutPrefix(name, prefix); ok && isRotatedSuffix(suffix) {
			rotated = append(rotated, filepath.Join(filepath.Dir(path), name))
		}
	}
	slices.Sort(rotated)
	return rotated, nil
}

// isRotatedSuffix tells 20060102-150405 and 20060102-150405.000001 from
// whatever else may lie beside a log (the kubelet's .gz and .tmp, for one).
func isRotatedSuffix(s string) bool {
	stamp, counter, counted := strings.Cut(s, ".")
	if _, err := time.Parse(rotatedFormat, stamp); err != nil || len(stamp) != len(rotatedFormat) {
		return false
	}
	return !counted || len(counter) == 6 && strings.Trim(counter, "0123456789") == ""
}

// nextSuffix returns the suffix for a file rotated now, which sorts after last,
// the newest suffix there is or "". A clock that was set back, or a second
// rotation in the same second, makes it last's time with the next counter.
func nextSuffix(now time.Time, last string) string {
	suffix := now.UTC().Format(rotatedFormat)
	if suffix > last {
		return suffix
	}
	stamp, counter, _ := strings.Cut(last, ".")
	n := 0
	_, _ = fmt.Sscanf(counter, "%d", &n) // no counter is counter 0
	return stamp + fmt.Sprintf(counterFormat, n+1)
}

// openLog opens path for appending and makes it and its directories when they
// are missing (0640 and 0755, whatever the umask). It refuses a symbolic link
// and anything but a regular file: a container's log directory may be a volume
// that a container can write to, and the shim is root.
func openLog(path string) (*os.File, int64, error) {
	if err := makeDirs(filepath.Dir(path)); err != nil {
		return nil, 0, err
	}
	const flags = os.O_WRONLY | os.O_APPEND | unix.O_NOFOLLOW | unix.O_NONBLOCK
	f, err := os.OpenFile(path, flags|os.O_CREATE|os.O_EXCL, 0o640)
	if err == nil {
		if err := f.Chmod(0o640); err != nil {
			f.Close()
			return nil, 0, err
		}
		return f, 0, nil
	}
	if !os.IsExist(err) {
		return nil, 0, err
	}
	f, err = os.OpenFile(path, flags, 0)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open log", Path: path, Err: fmt.Errorf("%s is no regular file", info.Mode().Type())}
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

func makeDirs(dir string) error {
	err := makeDir(dir)
	if !os.IsNotExist(err) || filepath.Dir(dir) == dir {
		return err
	}
	if err := makeDirs(filepath.Dir(dir)); err != nil {
		return err
	}
	return makeDir(dir)
}

func makeDir(dir string) error {
	err := os.Mkdir(dir, 0o755)
	if err == nil {
		return os.Chmod(dir, 0o755)
	}
	if os.IsExist(err) {
		return nil
	}
	return err
}
