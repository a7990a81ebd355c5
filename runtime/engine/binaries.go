// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Names of the executables that an engine needs.
const (
	RuncName = "runc"
	ShimName = "containerd-shim-minikubelet-v1"
)

// Paths says where the executables are (absolute paths).
type Paths struct {
	Runc string
	Shim string
}

// Binaries returns the executables to use. Those packed into this program are
// unpacked below dataDir/bin, once for each version; a program without packed
// ones looks beside itself and then on PATH. The caller holds the lock of
// dataDir.
//
// Directories of earlier versions are kept, for shims that still run are
// started, asked and cleaned up with the executable they came from; Prune
// removes those that are no longer needed.
func Binaries(dataDir string) (Paths, error) {
	p, err := packedBinaries()
	if err != nil {
		return Paths{}, err
	}
	if p != nil {
		return p.unpack(filepath.Join(dataDir, "bin"))
	}
	self, err := os.Executable()
	if err != nil {
		return Paths{}, fmt.Errorf("find the program's own directory: %w", err)
	}
	return lookUp(filepath.Dir(self), exec.LookPath)
}

// Look says which executables Binaries would give, and makes nothing: inside is
// true when they are packed into this program, whether they were unpacked before
// or not. It needs no lock.
func Look(dataDir string) (paths Paths, inside bool, err error) {
	p, err := packedBinaries()
	if err != nil {
		return Paths{}, false, err
	}
	if p != nil {
		dir := filepath.Join(dataDir, "bin", p.Hash)
		return Paths{Runc: filepath.Join(dir, RuncName), Shim: filepath.Join(dir, ShimName)}, true, nil
	}
	self, err := os.Executable()
	if err != nil {
		return Paths{}, false, fmt.Errorf("find the program's own directory: %w", err)
	}
	paths, err = lookUp(filepath.Dir(self), exec.LookPath)
	return paths, false, err
}

// lookUp finds both executables in dir or else with lookPath.
func lookUp(dir string, lookPath func(string) (string, error)) (Paths, error) {
	var missing []string
	find := func(name string) string {
		beside := filepath.Join(dir, name)
		if info, err := os.Stat(beside); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return beside
		}
		path, err := lookPath(name)
		if err == nil {
			path, err = filepath.Abs(path)
		}
		if err != nil {
			missing = append(missing, name)
			return ""
		}
		return path
	}
	paths := Paths{Runc: find(RuncName), Shim: find(ShimName)}
	if len(missing) > 0 {
		return Paths{}, fmt.Errorf("%s: not in %s and not on PATH, and this program was built without them; "+
			"use the one that `make build` makes, or put bin/%s beside it",
			strings.Join(missing, " and "), dir, strings.Join(missing, " and bin/"))
	}
	return paths, nil
}

// Prune removes unpacked executables of other versions that nothing needs any
// more: no process runs one of them and no bundle of an engine with state
// directory state names one. It is called after that engine has started; the
// caller holds the lock of dataDir.
func Prune(dataDir, state string, keep Paths) error {
	bin := filepath.Join(dataDir, "bin")
	list, err := os.ReadDir(bin)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("prune executables: %w", err)
	}
	old := make(map[string]bool)
	for _, d := range list {
		if path := filepath.Join(bin, d.Name()); d.IsDir() && path != filepath.Dir(keep.Shim) && path != filepath.Dir(keep.Runc) {
			old[path] = true
		}
	}
	if len(old) == 0 {
		return nil
	}
	used := make(map[string]bool)
	if err := shimDirs(state, used); err != nil {
		return fmt.Errorf("prune executables: %w", err)
	}
	processDirs(used)
	var errs []error
	for path := range old {
		if !used[path] {
			errs = append(errs, os.RemoveAll(path))
		}
	}
	return errors.Join(errs...)
}

// shimDirs adds the directories of the shims named in the engine's bundles,
// <state>/io.containerd.runtime.v2.task/<namespace>/<id>/shim-binary-path.
func shimDirs(state string, used map[string]bool) error {
	bundles := os.DirFS(state) // its path may have what is special in a pattern
	files, err := fs.Glob(bundles, taskPlugin+"/*/*/shim-binary-path")
	if err != nil {
		return err
	}
	for _, file := range files {
		path, err := fs.ReadFile(bundles, file)
		if errors.Is(err, fs.ErrNotExist) {
			continue // the container was removed meanwhile
		}
		if err != nil {
			return err
		}
		used[filepath.Dir(string(path))] = true
	}
	return nil
}

// processDirs adds the directories of the executables that processes run.
func processDirs(used map[string]bool) {
	links, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, link := range links {
		if exe, err := os.Readlink(link); err == nil {
			used[filepath.Dir(exe)] = true
		}
	}
}

// mayExec tells whether the file system of dir lets its files be executed.
func mayExec(dir string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("look at the file system of %s: %w", dir, err)
	}
	if st.Flags&unix.ST_NOEXEC != 0 {
		return fmt.Errorf("%s is on a file system mounted noexec, so the runtime unpacked there cannot run: choose another data directory or remount it", dir)
	}
	return nil
}
