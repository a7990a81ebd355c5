// SPDX-License-Identifier: Apache-2.0

package spec

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// maxUserFile bounds what is read of an image's /etc/passwd or /etc/group, in
// bytes.
const maxUserFile = 1 << 20

// UserFiles are the contents of an image's user data bases; empty when the
// image has none. They depend on the image only, so they may be kept.
type UserFiles struct {
	Passwd, Group []byte
}

// ReadUserFiles reads /etc/passwd and /etc/group of the root file system at
// root. The image is not trusted: symbolic links are followed as if root were
// "/", and only regular files of a bounded size are read.
func ReadUserFiles(root string) (UserFiles, error) {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return UserFiles{}, &fs.PathError{Op: "open", Path: root, Err: err}
	}
	defer unix.Close(dir)
	var f UserFiles
	if f.Passwd, err = readUserFile(dir, "etc/passwd"); err != nil {
		return UserFiles{}, err
	}
	if f.Group, err = readUserFile(dir, "etc/group"); err != nil {
		return UserFiles{}, err
	}
	return f, nil
}

func readUserFile(dir int, name string) ([]byte, error) {
	data, err := readRegular(dir, name, unix.RESOLVE_IN_ROOT, maxUserFile)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil, nil
	}
	return data, err
}

// readRegular reads a regular file of at most limit bytes. resolve says how the name is
// kept within dir; links of /proc are never followed.
func readRegular(dir int, name string, resolve uint64, limit int64) ([]byte, error) {
	path, err := unix.Openat2(dir, name, &unix.OpenHow{
		// O_PATH has no effect on a device or a FIFO that lies there.
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: resolve | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: "/" + name, Err: err}
	}
	defer unix.Close(path)
	var st unix.Stat_t
	if err := unix.Fstat(path, &st); err != nil {
		return nil, &fs.PathError{Op: "stat", Path: "/" + name, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fmt.Errorf("/%s is not a regular file", name)
	}
	file, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", path))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("/%s is larger than %d bytes", name, limit)
	}
	return data, nil
}
