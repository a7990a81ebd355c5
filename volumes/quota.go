// SPDX-License-Identifier: Apache-2.0

package volumes

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrNoQuota says that the file system cannot bound a directory: it is not mounted with
// project quotas, or the kernel is older than 5.14.
var ErrNoQuota = errors.New("the file system has no project quotas")

// Bound has the kernel refuse what would make a directory larger than so many bytes; 0
// lifts the bound. A directory gets its project while it is empty; one that has files
// and no project is ErrNoQuota as well, since they would not be counted. It may be
// called again, with another size too.
//
// It bounds nobody who has CAP_SYS_RESOURCE, which containers do not have unless they are
// given it. And it is no defence against root in a container of the host's user
// namespace, which may take its files out of the project: ioctl_fssetxattr(2).
func Bound(path string, bytes int64) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	var attr fsxattr
	if err := attrIoctl(dir, fsGetXattr, &attr); err != nil {
		return noQuota(err)
	}
	if attr.project == 0 {
		if bytes == 0 {
			return nil
		}
		if names, err := dir.Readdirnames(1); len(names) > 0 || err != nil && !errors.Is(err, io.EOF) {
			return errors.Join(ErrNoQuota, err)
		}
		if attr.project, err = freeProject(dir); err != nil {
			return err
		}
		attr.flags |= projectInherit
		if err := attrIoctl(dir, fsSetXattr, &attr); err != nil {
			return noQuota(err)
		}
	}
	blocks := uint64(bytes+quotaBlock-1) / quotaBlock
	return quotaCall(dir, quotaSet, attr.project, &quota{hard: blocks, soft: blocks, valid: validLimits})
}

// CanBound tells whether the file system of a directory counts by projects. It needs root.
func CanBound(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return quotaCall(dir, quotaGet, 0, &quota{})
}

// freeProject finds a project that nobody has: the directory's inode is the first
// guess, which no other volume of the file system has.
func freeProject(dir *os.File) (uint32, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return 0, &fs.PathError{Op: "stat", Path: dir.Name(), Err: err}
	}
	for try := range uint32(64) {
		id := uint32(st.Ino) + try
		if id == 0 {
			continue
		}
		var q quota
		err := quotaCall(dir, quotaGet, id, &q)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return 0, err
		}
		if q.hard == 0 && q.soft == 0 && q.space == 0 && q.inodes == 0 {
			return id, nil
		}
	}
	return 0, fmt.Errorf("%s: no free project for its quota near %d", dir.Name(), st.Ino)
}

// The kernel's interface: linux/fs.h and linux/quota.h.
const (
	fsGetXattr     = 0x801c581f // FS_IOC_FSGETXATTR
	fsSetXattr     = 0x401c5820 // FS_IOC_FSSETXATTR
	projectInherit = 0x200      // FS_XFLAG_PROJINHERIT: what is made below has the project too

	quotaGet    = 0x800007<<8 | 2 // Q_GETQUOTA of projects
	quotaSet    = 0x800008<<8 | 2 // Q_SETQUOTA of projects
	validLimits = 1               // QIF_BLIMITS
	quotaBlock  = 1024            // bytes
)

type fsxattr struct {
	flags, extent, extents, project, cow uint32
	_                                    [8]byte
}

type quota struct {
	hard, soft, space          uint64 // in blocks, blocks, bytes
	inodesHard, inodesSoft     uint64
	inodes, timeSpace, timeIno uint64
	valid, _                   uint32
}

func attrIoctl(f *os.File, request uintptr, attr *fsxattr) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(unsafe.Pointer(attr)))
	if errno != 0 {
		return &fs.PathError{Op: "ioctl", Path: f.Name(), Err: errno}
	}
	return nil
}

func quotaCall(f *os.File, command uintptr, project uint32, q *quota) error {
	_, _, errno := unix.Syscall6(unix.SYS_QUOTACTL_FD, f.Fd(), command, uintptr(project), uintptr(unsafe.Pointer(q)), 0, 0)
	if errno != 0 {
		return noQuota(&fs.PathError{Op: "quotactl", Path: f.Name(), Err: errno})
	}
	return nil
}

// noQuota adds ErrNoQuota to the errors by which a kernel or a file system says so.
func noQuota(err error) error {
	for _, e := range []error{unix.ENOSYS, unix.ESRCH, unix.ENOTTY, unix.EOPNOTSUPP, unix.EINVAL} {
		if errors.Is(err, e) {
			return fmt.Errorf("%w: %w", ErrNoQuota, err)
		}
	}
	return err
}
