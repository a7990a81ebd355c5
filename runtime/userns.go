// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// makeOwnedAndPin makes a user namespace and all others of the Pod, which belong to it, and pins them. Namespaces belong to the user
// namespace of the process that they are made for, and only a process with a single thread can enter another one: so a process is
// born in all of them at once, and the current thread follows it into each but the user namespace. What is pinned of an earlier
// attempt belongs to another user namespace and is dropped; nothing can use it yet.
func makeOwnedAndPin(dir string, _ []int, options *NamespaceOptions) (err error) {
	paths := NamespacePaths(dir, *options)
	wanted := map[string]string{"net": paths.Net, "ipc": paths.IPC, "uts": paths.UTS}
	flags := unix.CLONE_NEWUSER
	for _, kind := range namespaceKinds {
		if wanted[kind.name] == "" {
			continue
		}
		if err := release(wanted[kind.name]); err != nil {
			return err
		}
		flags |= kind.flag
	}
	if err := release(paths.User); err != nil {
		return err
	}
	holder, end, err := held(flags, options.IDs)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	for _, kind := range namespaceKinds {
		if wanted[kind.name] == "" {
			continue
		}
		if err := enter(fmt.Sprintf("/proc/%d/ns/%s", holder, kind.name), kind.flag); err != nil {
			return fmt.Errorf("enter the new %s namespace: %w", kind.name, err)
		}
		if err := options.setUpAndPin(dir, kind.name); err != nil {
			return err
		}
	}
	// Last: whoever sees it pinned sees all of them.
	return pin(fmt.Sprintf("/proc/%d/ns/user", holder), filepath.Join(dir, userPin(options.IDs)))
}

// held starts a process in new namespaces that is stopped before its first instruction, until end is called on the same thread. It is
// this program only because there has to be one.
func held(flags int, ids specs.LinuxIDMapping) (pid int, end func() error, err error) {
	mapping := []syscall.SysProcIDMap{{ContainerID: int(ids.ContainerID), HostID: int(ids.HostID), Size: int(ids.Size)}}
	pid, err = syscall.ForkExec("/proc/self/exe", []string{"namespaces"}, &syscall.ProcAttr{
		Sys: &syscall.SysProcAttr{
			Cloneflags: uintptr(flags), UidMappings: mapping, GidMappings: mapping, GidMappingsEnableSetgroups: true,
			Ptrace: true, Pdeathsig: unix.SIGKILL,
		},
	})
	if err != nil {
		return 0, nil, fmt.Errorf("new user namespace: %w", explain(err))
	}
	return pid, func() error {
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			return err
		}
		for {
			var status unix.WaitStatus
			switch _, err := unix.Wait4(pid, &status, 0, nil); {
			case errors.Is(err, unix.EINTR):
			case err != nil:
				return fmt.Errorf("process of the new namespaces: %w", err)
			case status.Exited() || status.Signaled():
				return nil
			}
		}
	}, nil
}

// explain says what the kernel means when it makes no user namespace, user_namespaces(7).
func explain(err error) error {
	switch {
	case errors.Is(err, unix.ENOSPC):
		return fmt.Errorf("%w: the kernel's limit is reached, raise the sysctl user.max_user_namespaces", err)
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("%w: the kernel has none, CONFIG_USER_NS is needed", err)
	}
	return err
}

// enter moves the current thread into a namespace.
func enter(path string, flag int) error {
	ns, err := os.Open(path)
	if err != nil {
		return err
	}
	defer ns.Close()
	return unix.Setns(int(ns.Fd()), flag)
}

// asOwner runs fn on the current thread as the root of the Pod's user namespace: the parameters of an IPC namespace can be written by
// that user alone, whatever capabilities another one has (ipc_permissions in the kernel's ipc/ipc_sysctl.c).
func (o *NamespaceOptions) asOwner(fn func() error) (err error) {
	if o.IDs.Size == 0 {
		return fn()
	}
	// Not the functions of package syscall, which change all threads.
	become := func(uid uint32) error {
		const keep = ^uintptr(0)
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, keep, uintptr(uid), keep); errno != 0 {
			return fmt.Errorf("become user %d: %w", uid, errno)
		}
		return nil
	}
	self := uint32(os.Geteuid())
	if err := become(o.IDs.HostID); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, become(self)) }()
	return fn()
}

// groupsSysctl has a range of groups, which the kernel reads as those of the user namespace of the process that writes them.
const groupsSysctl = "net.ipv4.ping_group_range"

// hostGroups is a range of groups of a Pod's user namespace as the machine's; groups that the namespace does not have are left out
// at the range's end. What is no range stays for the kernel to refuse.
func hostGroups(value string, ids specs.LinuxIDMapping) string {
	var low, high uint32
	if n, err := fmt.Sscan(value, &low, &high); n != 2 || err != nil || low >= ids.Size {
		return value
	}
	return fmt.Sprintf("%d %d", ids.HostID+low, ids.HostID+min(high, ids.Size-1))
}
