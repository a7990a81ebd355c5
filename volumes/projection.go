// SPDX-License-Identifier: Apache-2.0

package volumes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// Bounds of a volume's files. An object of the API has at most 1 MiB, but a
// projected volume may name any number of them.
const (
	maxProjectedBytes = 32 << 20
	maxProjectedFiles = 10000
	maxPathLength     = unix.PathMax
	maxNameLength     = unix.NAME_MAX
)

// Files are what a volume of the types configMap, secret, downwardAPI and
// projected has, by path below the volume. The volume has them all or, while
// there is an error, what it had before.
type Files map[string]File

// File is one of them.
type File struct {
	Data []byte
	Mode uint32 // permission bits
	// Owner, when set, is the file's user.
	Owner *int64
}

// projection is a volume whose files the agent writes. Containers have it
// read-only. A Pod's volumes of one type share a tmpfs, which is mounted at the
// type's directory.
type projection struct {
	name, directory string
	// private types are nowhere but in memory, and not written to a swap device where
	// the kernel can do that (6.4 and later).
	private bool
}

func projections() []volumeType {
	return []volumeType{
		projection{"configMap", "kubernetes.io~configmap", false},
		projection{"secret", "kubernetes.io~secret", true},
		projection{"downwardAPI", "kubernetes.io~downward-api", true},
		projection{"projected", "kubernetes.io~projected", true},
	}
}

func (p projection) source() string          { return p.name }
func (p projection) dir() string             { return p.directory }
func (projection) check(corev1.Volume) error { return nil }
func (p projection) path(pod Pod, name string) string {
	return filepath.Join(pod.Dir, volumesDir, p.directory, name)
}

func (p projection) preview(pod Pod, v corev1.Volume) (Volume, error) {
	return Volume{Path: p.path(pod, v.Name), ReadOnly: true}, nil
}

// setUp writes the Pod's files for this volume. Without any a volume that is
// there keeps what it has: the objects that it came from may be gone.
func (p projection) setUp(_ context.Context, pod Pod, v corev1.Volume) (Volume, error) {
	files, given := pod.Files[v.Name]
	target := p.path(pod, v.Name)
	if !given {
		if !isWritten(target) {
			return Volume{}, errors.New("its files are not known")
		}
		return Volume{Path: target, ReadOnly: true}, nil
	}
	if err := files.check(); err != nil {
		return Volume{}, err
	}
	if err := p.makeDir(pod, filepath.Dir(target)); err != nil {
		return Volume{}, err
	}
	if err := setUpDir(target, pod.FSGroup); err != nil {
		return Volume{}, err
	}
	if err := project(target, files, pod.Nested[v.Name], pod.FSGroup); err != nil {
		return Volume{}, err
	}
	return Volume{Path: target, ReadOnly: true}, nil
}

// makeDir makes the directory of the type, and mounts its tmpfs unless it is there.
// Before Linux 6.3 a Pod with users of its own could not have configMaps from a tmpfs:
// such Pods have them on disk.
func (p projection) makeDir(pod Pod, dir string) error {
	if err := os.MkdirAll(dir, privateMode); err != nil {
		return err
	}
	if pod.OwnUsers && !p.private {
		return nil
	}
	mounted, err := isMountOf(dir, unix.TMPFS_MAGIC)
	if err != nil || mounted {
		return err
	}
	return mountTmpfs(dir, fmt.Sprintf("mode=%#o", privateMode), p.private)
}

// tearDown unmounts what the volumes of the type have in common before it removes
// anything: while somebody uses one of them, all keep their files.
func (p projection) tearDown(ctx context.Context, pod Pod, name string) error {
	path := p.path(pod, name)
	mounted, err := isMountRoot(filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if mounted {
		err = unmountBelow(filepath.Dir(path))
	}
	if err != nil {
		return err
	}
	return removeAll(ctx, path)
}

func (p projection) usage(ctx context.Context, pod Pod, name string) (Usage, error) {
	return diskUsage(ctx, p.path(pod, name))
}

// Written tells whether a volume of the types that have Files is there, with
// all files of some earlier time.
func (m *Manager) Written(pod Pod, v corev1.Volume) bool {
	for _, t := range m.types {
		if p, ok := t.(projection); ok && p.name == sourceOf(v) {
			return checkName(v.Name) == nil && isWritten(p.path(pod, v.Name))
		}
	}
	return false
}

func isWritten(target string) bool {
	_, err := os.Readlink(filepath.Join(target, dataLink))
	return err == nil
}

// check refuses paths that could lead out of the volume or meet the names that
// the swap uses, and what is too much.
func (f Files) check() error {
	if len(f) > maxProjectedFiles {
		return fmt.Errorf("%d files are more than the %d that a volume may have", len(f), maxProjectedFiles)
	}
	total := 0
	for name, file := range f {
		if err := checkFilePath(name); err != nil {
			return err
		}
		total += len(file.Data)
	}
	if total > maxProjectedBytes {
		return fmt.Errorf("%d bytes are more than the %d that the files of a volume may have", total, maxProjectedBytes)
	}
	return nil
}

// checkFilePath has the kubelet's rules.
func checkFilePath(name string) error {
	switch {
	case name == "":
		return errors.New(`invalid path: must not be empty: ""`)
	case path.IsAbs(name):
		return fmt.Errorf("invalid path: must be relative path: %s", name)
	case len(name) > maxPathLength:
		return fmt.Errorf("invalid path: must be less than or equal to %d characters", maxPathLength)
	case strings.ContainsRune(name, 0):
		return fmt.Errorf("invalid path: contains a zero byte: %q", name)
	}
	for i, part := range strings.Split(name, "/") {
		switch {
		case part == "..":
			return fmt.Errorf("invalid path: must not contain '..': %s", name)
		case len(part) > maxNameLength:
			return fmt.Errorf("invalid path: filenames must be less than or equal to %d characters", maxNameLength)
		case i == 0 && strings.HasPrefix(part, ".."):
			return fmt.Errorf("invalid path: must not start with '..': %s", name)
		}
	}
	switch clean := path.Clean(name); {
	case clean == ".":
		return fmt.Errorf("invalid path: names no file: %s", name)
	case strings.HasPrefix(clean, ".."): // as in ./..data
		return fmt.Errorf("invalid path: must not start with '..': %s", name)
	}
	return nil
}
