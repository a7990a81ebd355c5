// SPDX-License-Identifier: Apache-2.0

package network

import (
	"fmt"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// threadNetns is the namespace of the calling thread. /proc/self/ns/net would be
// that of the process's first thread, which the Go runtime parks for ever, where
// it happens to be, when a goroutine ends while locked to it.
const threadNetns = "/proc/thread-self/ns/net"

// openNetns opens a network namespace by path; the empty path is the one of the
// process. A path that is no namespace is refused.
func openNetns(path string) (*os.File, error) {
	if path == "" {
		path = threadNetns
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("network namespace: %w", err)
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &fs); err != nil || fs.Type != unix.NSFS_MAGIC {
		f.Close()
		return nil, fmt.Errorf("network namespace %s: not a namespace (is it still pinned there?)", path)
	}
	return f, nil
}

// inNetns runs f on a thread of its own inside the namespace.
func inNetns(ns *os.File, f func() error) error {
	return elsewhere(func() error {
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network namespace %s: %w", ns.Name(), err)
		}
		return f()
	})
}

// inNewNetns runs f on a thread of its own inside a fresh namespace, which ends
// with f unless f opens it.
func inNewNetns(f func() error) error {
	return elsewhere(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		return f()
	})
}

// elsewhere runs f on a thread of its own and then moves that thread back to the
// namespace that it came from. A thread that cannot be moved back is never used
// again: its goroutine ends while locked to it, and the Go runtime destroys it.
func elsewhere(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := os.Open(threadNetns)
		if err != nil {
			runtime.UnlockOSThread()
			done <- fmt.Errorf("network namespace of the thread: %w", err)
			return
		}
		defer home.Close()
		err = f()
		if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

// routeHandle opens a routing netlink handle in a namespace.
func routeHandle(ns *os.File) (h *netlink.Handle, err error) {
	err = inNetns(ns, func() error {
		h, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		return err
	})
	return h, err
}
