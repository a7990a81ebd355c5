// SPDX-License-Identifier: Apache-2.0

package check

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/minikubelet/minikubelet/cgroups"
	"github.com/minikubelet/minikubelet/network"
	"github.com/minikubelet/minikubelet/runtime/engine"
)

func cgroup(m cgroups.Machine, err error) []Result {
	if err != nil {
		return []Result{{Fail, "cgroups", err.Error(), "Pods' processes cannot be kept together", "mount cgroup2 on /sys/fs/cgroup"}}
	}
	have := slices.Sorted(maps.Keys(m.Mounts))
	r := Result{Level: OK, Name: "cgroups", Found: fmt.Sprintf("%s with %s", m.Mode, strings.Join(have, ", "))}
	remedy := "boot with cgroup v2 (systemd.unified_cgroup_hierarchy=1), or mount the controller; memory may need cgroup_enable=memory on the kernel's command line"
	switch {
	case len(m.ReadOnly) > 0:
		remedy = "remount " + strings.Join(m.ReadOnly, " ") + " read-write, or run the surrounding container privileged"
	case len(m.Busy) > 0:
		remedy = "move the processes out of the cgroup at " + strings.Join(m.Busy, " ") + " (of a surrounding container) into a child, or start that container with the host's cgroup namespace"
	}
	if len(have) == 0 || len(have) == 1 && have[0] == "hugetlb" {
		r.Level, r.Found = Fail, string(m.Mode)+" without a usable controller"
		r.Consequence, r.Remedy = "Pods' processes cannot be kept together", remedy
		return []Result{r}
	}
	out := []Result{r}
	for _, c := range slices.Sorted(maps.Keys(m.Missing)) {
		out = append(out, Result{Warn, "cgroup " + c, "missing", m.Missing[c], remedy})
	}
	return out
}

// hugePages tells which sizes are set aside; none is the normal case.
func hugePages(dir string) Result {
	dirs, _ := filepath.Glob(filepath.Join(dir, "hugepages-*kB"))
	var sizes []string
	for _, d := range dirs {
		if n, _ := read(filepath.Join(d, "nr_hugepages")); n != "" && n != "0" {
			sizes = append(sizes, n+" of "+strings.TrimPrefix(filepath.Base(d), "hugepages-"))
		}
	}
	if len(sizes) == 0 {
		return Result{Level: OK, Name: "huge pages", Found: "none set aside; Pods that request them are refused"}
	}
	return Result{Level: OK, Name: "huge pages", Found: strings.Join(sizes, ", ")}
}

// dataDir tells who holds the data directory and whether it can be written.
func dataDir(dir string) Result {
	r := Result{Level: OK, Name: "data directory", Found: dir}
	pid, held := engine.Holder(dir)
	at := existing(dir)
	switch {
	case held && pid > 0:
		r.Found += fmt.Sprintf(", in use by an agent, process %d", pid)
	case held:
		r.Found += ", in use by an agent"
	case at != dir:
		r.Found += ", to be made"
	default:
		r.Found += ", free"
	}
	var st unix.Statfs_t
	if err := unix.Statfs(at, &st); err == nil && st.Flags&unix.ST_RDONLY != 0 {
		r.Level, r.Consequence, r.Remedy = Fail, "it is on a read-only file system: no state can be kept", "remount it, or choose another with --data-dir"
	} else if err := unix.Access(at, unix.W_OK); err != nil {
		r.Level, r.Consequence, r.Remedy = Fail, fmt.Sprintf("%s cannot be written: %v", at, err), "run as root, or choose another with --data-dir"
	}
	return r
}

// executableDir: runc and shim are unpacked into the data directory.
func executableDir(dir string) Result {
	var st unix.Statfs_t
	if err := unix.Statfs(existing(dir), &st); err == nil && st.Flags&unix.ST_NOEXEC != 0 {
		return Result{Fail, "executables", "the data directory is mounted noexec", "runc and the shim unpacked there cannot run, and neither can containers",
			"remount it with exec, or choose another with --data-dir"}
	}
	return Result{Level: OK, Name: "executables", Found: "may run from the data directory"}
}

// Free space and memory below which a node is no use, in bytes.
const (
	leastSpace, someSpace   = 64 << 20, 1 << 30
	leastMemory, someMemory = 64 << 20, 256 << 20
	leastInodes             = 10000
)

func space(what, dir string) Result {
	r := Result{Level: OK, Name: "space, " + what}
	var st unix.Statfs_t
	if err := unix.Statfs(existing(dir), &st); err != nil {
		return Result{Warn, r.Name, err.Error(), "its free space is not known", "look at df " + dir}
	}
	free := int64(st.Bavail) * st.Bsize
	r.Found = size(free) + " free"
	remedy := fmt.Sprintf("free space on the file system of %s, for instance with minikubelet image rm, or choose another directory", existing(dir))
	switch {
	case free < leastSpace:
		r.Level, r.Consequence, r.Remedy = Fail, "images, logs and state cannot be written", remedy
	case free < someSpace:
		r.Level, r.Consequence, r.Remedy = Warn, "pulls of larger images will fail", remedy
	case st.Files > 0 && st.Ffree < leastInodes:
		r.Level, r.Consequence, r.Remedy = Warn, fmt.Sprintf("only %d inodes are free: unpacking images will fail", st.Ffree), remedy
	}
	return r
}

func memory(meminfo string) Result {
	r := Result{Level: OK, Name: "memory"}
	text, _ := read(meminfo)
	available := int64(-1)
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 3 && f[0] == "MemAvailable:" {
			if kb, err := strconv.ParseInt(f[1], 10, 64); err == nil {
				available = kb * 1024
			}
		}
	}
	if available < 0 {
		return Result{Warn, r.Name, meminfo + " does not say", "the free memory is not known", "mount /proc"}
	}
	r.Found = size(available) + " available"
	switch {
	case available < leastMemory:
		r.Level, r.Consequence, r.Remedy = Fail, "the agent itself needs about 45 MiB, each Pod 4 MiB and its programs", "end other programs, or add memory or swap"
	case available < someMemory:
		r.Level, r.Consequence, r.Remedy = Warn, "few Pods fit", "end other programs, or add memory"
	}
	return r
}

func size(n int64) string {
	if n >= 10<<30 {
		return fmt.Sprintf("%d GiB", n>>30)
	}
	return fmt.Sprintf("%d MiB", n>>20)
}

func resolver(path string) Result {
	r := Result{Level: OK, Name: "name servers"}
	dns, err := network.ReadHostDNS(path)
	if err != nil {
		return Result{Warn, r.Name, err.Error(), "Pods cannot be started with dnsPolicy Default or ClusterFirst", "repair " + path}
	}
	usable := slices.DeleteFunc(slices.Clone(dns.Nameservers), func(s string) bool { return strings.HasPrefix(s, "127.") || s == "::1" })
	r.Found = strings.Join(dns.Nameservers, " ")
	switch {
	case len(dns.Nameservers) == 0:
		r.Level, r.Found = Warn, "none in "+path
		r.Consequence, r.Remedy = "Pods resolve no names; images are pulled from addresses and archives only", "name servers in "+path+", or in the Pods' dnsConfig"
	case len(usable) == 0:
		r.Level = Warn
		r.Consequence, r.Remedy = "a Pod cannot reach the host's loopback, so names will not resolve in Pods", "let "+path+" name a server that is not on loopback, or use dnsConfig.nameservers"
	}
	return r
}

// timeFloor is a time before which it cannot be: that of the program file.
func timeFloor(program string) time.Time {
	if path, err := os.Executable(); err == nil {
		program = path
	}
	info, err := os.Stat(program)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

func clock(now, floor time.Time) Result {
	r := Result{Level: OK, Name: "clock", Found: now.UTC().Format(time.RFC3339)}
	if now.Before(floor) {
		r.Level = Warn
		r.Consequence = "it is before the time at which this program was made: certificates of registries count as not valid yet, and times in status and logs are wrong"
		r.Remedy = "set the clock, or run an NTP client"
	}
	return r
}
