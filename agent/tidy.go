// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"bufio"
	"fmt"
	"os"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"
)

// giveBack gives the memory back that is not in use: the heap's, and the pages of
// the program itself, most of which were needed at its start and never again
// (tables that are filled, runc and the shim that are unpacked). Those that are
// needed come back from the page cache when they are touched.
func giveBack() {
	debug.FreeOSMemory()
	for _, m := range programPages() {
		// Nothing is lost where the kernel refuses.
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, m.start, m.size, unix.MADV_DONTNEED)
	}
}

// pages are a part of the address space.
type pages struct{ start, size uintptr }

// programPages are those of the program's file that are read-only, so that they
// can be read again. It needs no list of them to be complete.
func programPages() []pages {
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return nil
	}
	f, err := os.Open("/proc/self/maps")
	if err != nil {
		return nil
	}
	defer f.Close()
	var all []pages
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		var start, end uintptr
		if len(fields) < 6 || !strings.HasPrefix(fields[1], "r-") || fields[5] != self {
			continue
		}
		if _, err := fmt.Sscanf(fields[0], "%x-%x", &start, &end); err == nil && start < end {
			all = append(all, pages{start, end - start})
		}
	}
	return all
}
