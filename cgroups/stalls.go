// SPDX-License-Identifier: Apache-2.0

package cgroups

import (
	"context"
	"log/slog"

	"golang.org/x/sys/unix"
)

// stallTrigger asks to be told when tasks waited for memory for 200 ms of 2 s, the
// window that the kernel gives without CAP_SYS_RESOURCE, too.
const stallTrigger = "some 200000 2000000"

// MemoryStalls signals that the machine is short of memory as soon as its kernel sees
// it (Documentation/accounting/psi.rst), at most once every two seconds, until ctx ends. A
// kernel without PSI never signals.
func MemoryStalls(ctx context.Context, log *slog.Logger) <-chan struct{} {
	stalls := make(chan struct{}, 1)
	fd, err := unix.Open("/proc/pressure/memory", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err == nil {
		if _, err = unix.Write(fd, []byte(stallTrigger+"\x00")); err != nil {
			_ = unix.Close(fd)
		}
	}
	if err != nil {
		log.Info("the kernel does not tell of memory pressure at once; it is looked for every few seconds", "err", err)
		return stalls
	}
	end, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		_ = unix.Close(fd)
		log.Warn("memory pressure is looked for every few seconds only", "err", err)
		return stalls
	}
	waiting := make(chan struct{})
	go func() {
		defer close(waiting)
		waitForStalls(fd, end, stalls)
	}()
	context.AfterFunc(ctx, func() {
		_, _ = unix.Write(end, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // wakes the poll
		<-waiting
		_, _ = unix.Close(fd), unix.Close(end)
	})
	return stalls
}

// waitForStalls polls, which is the only way to wait for PSI, until end is written.
func waitForStalls(fd, end int, stalls chan<- struct{}) {
	for {
		polled := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLPRI}, {Fd: int32(end), Events: unix.POLLIN}}
		if _, err := unix.Poll(polled, -1); err == unix.EINTR {
			continue
		} else if err != nil || polled[1].Revents != 0 || polled[0].Revents&unix.POLLERR != 0 {
			return
		}
		select {
		case stalls <- struct{}{}:
		default:
		}
	}
}
