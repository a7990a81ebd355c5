// SPDX-License-Identifier: Apache-2.0

package volumes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// hostPath is a file or directory of the host. Nothing is made below Pod.Dir,
// and what the type lets it make on the host stays there.
type hostPath struct {
	allowed []string
}

func (hostPath) source() string { return "hostPath" }
func (hostPath) dir() string    { return "" }

func (hostPath) check(v corev1.Volume) error {
	path := v.HostPath.Path
	switch {
	case !filepath.IsAbs(path):
		return fmt.Errorf(".path: %q is not an absolute path", path)
	case slices.Contains(strings.Split(path, "/"), ".."):
		return fmt.Errorf(".path: %q must not contain '..'", path)
	case strings.ContainsRune(path, 0):
		return fmt.Errorf(".path: %q contains a zero byte", path)
	}
	switch typeOfHostPath(v.HostPath) {
	case corev1.HostPathUnset, corev1.HostPathDirectoryOrCreate, corev1.HostPathDirectory,
		corev1.HostPathFileOrCreate, corev1.HostPathFile, corev1.HostPathSocket,
		corev1.HostPathCharDev, corev1.HostPathBlockDev:
		return nil
	}
	return fmt.Errorf(".type: %s is an invalid volume type", *v.HostPath.Type)
}

func typeOfHostPath(h *corev1.HostPathVolumeSource) corev1.HostPathType {
	if h.Type == nil {
		return corev1.HostPathUnset
	}
	return *h.Type
}

func (h hostPath) setUp(_ context.Context, _ Pod, v corev1.Volume) (Volume, error) {
	path, typ := filepath.Clean(v.HostPath.Path), typeOfHostPath(v.HostPath)
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		if err := h.create(path, typ); err != nil {
			return Volume{}, err
		}
		fd, err = unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		if what := typeName(typ); what != "" && (errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR)) {
			return Volume{}, fmt.Errorf("hostPath type check failed: %s is not a %s", path, what)
		}
		return Volume{}, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	return h.opened(fd, path, typ)
}

// preview looks at what is there; what setUp would make counts as being there.
func (h hostPath) preview(_ Pod, v corev1.Volume) (Volume, error) {
	path, typ := filepath.Clean(v.HostPath.Path), typeOfHostPath(v.HostPath)
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err == nil {
		defer unix.Close(fd)
		return h.opened(fd, path, typ)
	}
	switch what := typeName(typ); {
	case errors.Is(err, unix.ENOENT) && makes(typ):
		real, err := realPath(path)
		if err != nil {
			return Volume{}, err
		}
		return Volume{Path: real, File: typ == corev1.HostPathFileOrCreate, Host: true}, h.checkAllowed(path, real)
	case what != "" && (errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR)):
		return Volume{}, fmt.Errorf("hostPath type check failed: %s is not a %s", path, what)
	}
	return Volume{}, &fs.PathError{Op: "open", Path: path, Err: err}
}

// opened checks what fd, opened at path, refers to.
func (h hostPath) opened(fd int, path string, typ corev1.HostPathType) (Volume, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return Volume{}, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if !hasType(st.Mode, typ) {
		return Volume{}, fmt.Errorf("hostPath type check failed: %s is not a %s", path, typeName(typ))
	}
	real, err := os.Readlink(fdPath(fd))
	if err != nil {
		return Volume{}, err
	}
	if err := h.checkAllowed(path, real); err != nil {
		return Volume{}, err
	}
	return Volume{Path: real, File: st.Mode&unix.S_IFMT != unix.S_IFDIR, Host: true}, nil
}

// create makes what the type says when there is nothing at path. The unset
// type makes a directory too, as the runtimes do under a kubelet.
func (h hostPath) create(path string, typ corev1.HostPathType) error {
	if !makes(typ) {
		return nil // the type check says what is wrong
	}
	real, err := realPath(path)
	if err != nil {
		return err
	}
	if err := h.checkAllowed(path, real); err != nil {
		return err
	}
	if typ == corev1.HostPathFileOrCreate {
		// The parent directory has to exist, as with the kubelet.
		parent, err := openNoLinks(filepath.Dir(real))
		if err != nil {
			return err
		}
		defer unix.Close(parent)
		f, err := os.OpenFile(fdPath(parent)+"/"+filepath.Base(real), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return errors.Join(f.Chmod(0o644), f.Close())
	}
	return makeDirs(real)
}

// makes tells whether setUp makes a missing path.
func makes(typ corev1.HostPathType) bool {
	return typ == corev1.HostPathUnset || typ == corev1.HostPathDirectoryOrCreate || typ == corev1.HostPathFileOrCreate
}

// makeDirs makes a directory and the missing ones above it with mode 0755, whatever
// the umask. It follows no symbolic link: what was checked is where it works.
func makeDirs(path string) error {
	fd, err := openNoLinks(path)
	if err == nil {
		return unix.Close(fd)
	}
	if !errors.Is(err, fs.ErrNotExist) || path == "/" {
		return err
	}
	dir, name := filepath.Split(path)
	dir = filepath.Clean(dir)
	if err := makeDirs(dir); err != nil {
		return err
	}
	parent, err := openNoLinks(dir)
	if err != nil {
		return err
	}
	defer unix.Close(parent)
	return makeIn(parent, name, 0o755)
}

// realPath resolves the symbolic links in the part of path that exists.
func realPath(path string) (string, error) {
	rest := ""
	for dir := path; ; dir = filepath.Dir(dir) {
		real, err := filepath.EvalSymlinks(dir)
		if err == nil {
			return filepath.Join(real, rest), nil
		}
		if !errors.Is(err, fs.ErrNotExist) || dir == "/" {
			return "", err
		}
		if _, err := os.Lstat(dir); err == nil {
			return "", fmt.Errorf("%s is a symbolic link to nowhere", dir)
		}
		rest = filepath.Join(filepath.Base(dir), rest)
	}
}

func (h hostPath) checkAllowed(path, real string) error {
	if len(h.allowed) == 0 {
		return nil
	}
	for _, prefix := range h.allowed {
		if within(filepath.Clean(prefix), real) {
			return nil
		}
	}
	what := path
	if real != path {
		what = fmt.Sprintf("%s (which is %s)", path, real)
	}
	return fmt.Errorf("%s is not below a path that this node allows: %s", what, strings.Join(h.allowed, ", "))
}

// within tells whether path is dir or lies below it; both are clean.
func within(dir, path string) bool {
	return path == dir || dir == "/" || strings.HasPrefix(path, dir+"/")
}

func hasType(mode uint32, typ corev1.HostPathType) bool {
	format := mode & unix.S_IFMT
	switch typ {
	case corev1.HostPathDirectory, corev1.HostPathDirectoryOrCreate:
		return format == unix.S_IFDIR
	case corev1.HostPathFile, corev1.HostPathFileOrCreate:
		return format == unix.S_IFREG
	case corev1.HostPathSocket:
		return format == unix.S_IFSOCK
	case corev1.HostPathCharDev:
		return format == unix.S_IFCHR
	case corev1.HostPathBlockDev:
		return format == unix.S_IFBLK
	}
	return true
}

// typeName is the kubelet's word for what should be there.
func typeName(typ corev1.HostPathType) string {
	switch typ {
	case corev1.HostPathDirectory, corev1.HostPathDirectoryOrCreate:
		return "directory"
	case corev1.HostPathFile, corev1.HostPathFileOrCreate:
		return "file"
	case corev1.HostPathSocket:
		return "socket file"
	case corev1.HostPathCharDev:
		return "character device"
	case corev1.HostPathBlockDev:
		return "block device"
	}
	return ""
}

// tearDown and usage: what is on the host is the host's.
func (hostPath) tearDown(context.Context, Pod, string) error       { return nil }
func (hostPath) usage(context.Context, Pod, string) (Usage, error) { return Usage{}, nil }
