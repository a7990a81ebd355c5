// SPDX-License-Identifier: Apache-2.0

package check

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

func kernelRelease() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

// Kernel versions that matter: statx(2) tells of mounts since 5.8, which volumes
// need; mount_setattr(2) is there since 5.12.
var (
	leastKernel = [2]int{5, 8}
	wholeKernel = [2]int{5, 12}
)

func kernel(release string) Result {
	r := Result{Level: OK, Name: "kernel", Found: "Linux " + release}
	var v [2]int
	if _, err := fmt.Sscanf(release, "%d.%d", &v[0], &v[1]); err != nil {
		r.Level, r.Consequence, r.Remedy = Warn, "its version cannot be told from that", "check that it is 5.12 or later"
		return r
	}
	switch {
	case slices.Compare(v[:], leastKernel[:]) < 0:
		r.Level, r.Consequence, r.Remedy = Fail, "volumes cannot be mounted safely", "use Linux 5.8 or later, best 5.12 or later"
	case slices.Compare(v[:], wholeKernel[:]) < 0:
		r.Level, r.Consequence, r.Remedy = Warn, "recursiveReadOnly: Enabled is refused", "use Linux 5.12 or later"
	}
	return r
}

func root(uid int) Result {
	r := Result{Level: OK, Name: "user", Found: "root"}
	if uid != 0 {
		r.Level, r.Found = Fail, fmt.Sprintf("user %d", uid)
		r.Consequence, r.Remedy = "the agent cannot make containers", "run it as root: sudo minikubelet check"
	}
	return r
}

// needed are capabilities and what fails without them.
var needed = []struct {
	name        string
	level       Level
	consequence string
}{
	{"CAP_SYS_ADMIN", Fail, "no namespaces and no mounts can be made"},
	{"CAP_NET_ADMIN", Fail, "Pods get no network of their own"},
	{"CAP_DAC_OVERRIDE", Warn, "files of containers with other owners cannot be reached"},
	{"CAP_CHOWN", Fail, "image layers cannot be unpacked"},
	{"CAP_MKNOD", Fail, "image layers with whiteouts or devices cannot be unpacked, and containers get no /dev"},
	{"CAP_SETUID", Fail, "containers cannot run as their users"},
	{"CAP_SETGID", Fail, "containers cannot run as their groups"},
	{"CAP_KILL", Fail, "containers cannot be ended"},
}

const capRemedy = "run as root on the machine itself, or give the surrounding container the capability"

func capabilities(have []string, oomFloor int) []Result {
	r := Result{Level: OK, Name: "capabilities", Found: fmt.Sprintf("%d, all that are needed", len(have))}
	var missing, lost []string
	for _, n := range needed {
		if slices.Contains(have, n.name) {
			continue
		}
		if r.Level != Fail {
			r.Level = n.level
		}
		missing, lost = append(missing, n.name), append(lost, n.consequence)
	}
	if len(missing) > 0 {
		r.Found, r.Consequence, r.Remedy = "no "+strings.Join(missing, ", "), strings.Join(lost, "; "), capRemedy
	}
	adj := Result{Level: OK, Name: "oom_score_adj", Found: fmt.Sprintf("can be set from %d", oomFloor)}
	if !slices.Contains(have, "CAP_SYS_RESOURCE") {
		adj.Level = Warn
		adj.Consequence = fmt.Sprintf("no CAP_SYS_RESOURCE: containers that Kubernetes protects from the OOM killer (Guaranteed -997) get %d, and rlimits cannot be raised", oomFloor)
		adj.Remedy = "give the agent CAP_SYS_RESOURCE"
	}
	return []Result{r, adj}
}

func seccomp(missing bool) Result {
	if missing {
		return Result{Warn, "seccomp", "missing", "containers run without a system call filter", "use a kernel with CONFIG_SECCOMP_FILTER"}
	}
	return Result{Level: OK, Name: "seccomp", Found: "filters available"}
}

// appArmor: without it, containers have one protection less. With it, containerd's
// default profile needs the program that compiles profiles.
func appArmor(enabled bool, parser string) Result {
	r := Result{Level: OK, Name: "AppArmor", Found: "not enabled; Pods that ask for a profile are refused"}
	if !enabled {
		return r
	}
	r.Found = "enabled; containers run under a profile"
	if _, err := exec.LookPath(parser); err != nil {
		r.Level, r.Found = Warn, "enabled, but "+parser+" is missing"
		r.Consequence, r.Remedy = "containers run without a profile, unless they name one of their own", "install "+parser+" (the package apparmor)"
	}
	return r
}

// openat2 confines paths; volumes and image files are opened with it.
func openat2() Result {
	fd, err := unix.Openat2(unix.AT_FDCWD, "/", &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS})
	if err != nil {
		return Result{Fail, "openat2", err.Error(), "paths in volumes cannot be confined, so volumes are refused",
			"use Linux 5.6 or later, and let the system call through a surrounding seccomp filter"}
	}
	unix.Close(fd)
	return Result{Level: OK, Name: "openat2", Found: "available"}
}

// bound is a kernel setting below which something goes wrong.
type bound struct {
	file        string // below /proc/sys
	least       int64
	level       Level
	consequence string
}

// bounds are for about 110 Pods: the agent watches few files, programs in
// containers many.
var bounds = []bound{
	{"fs/inotify/max_user_instances", 128, Warn, "programs that watch files fail with 'too many open files'"},
	{"fs/inotify/max_user_watches", 8192, Warn, "programs that watch files fail with 'no space left on device'"},
	{"kernel/pid_max", 4096, Warn, "no more processes can be started when several Pods run"},
	{"kernel/threads-max", 4096, Warn, "no more threads can be started when several Pods run"},
	{"kernel/keys/root_maxkeys", 1000, Warn, "containers fail to start with 'disk quota exceeded', for runc makes a key for each"},
	{"user/max_mnt_namespaces", 512, Warn, "containers beyond that number fail to start"},
	{"user/max_net_namespaces", 256, Warn, "Pods beyond that number fail to start"},
	{"user/max_pid_namespaces", 512, Warn, "containers beyond that number fail to start"},
	{"fs/file-max", 65536, Warn, "no more files can be opened when several Pods run"},
	{"fs/mount-max", 10000, Warn, "no more volumes can be mounted when several Pods run"},
}

func limits(procSys string) []Result {
	var out []Result
	for _, b := range bounds {
		text, ok := read(filepath.Join(procSys, b.file))
		value, err := strconv.ParseInt(text, 10, 64)
		if !ok || err != nil || value >= b.least {
			// More than an int64 is enough as well.
			if ok && err != nil && !errors.Is(err, strconv.ErrRange) {
				out = append(out, Result{Warn, b.file, text, "cannot be understood", "look at /proc/sys/" + b.file})
			}
			continue
		}
		name := strings.ReplaceAll(b.file, "/", ".")
		out = append(out, Result{b.level, name, text, b.consequence, fmt.Sprintf("sysctl -w %s=%d", name, b.least)})
	}
	if len(out) == 0 {
		out = append(out, Result{Level: OK, Name: "kernel limits", Found: fmt.Sprintf("%d settings (inotify, processes, namespaces, files, mounts) are high enough", len(bounds))})
	}
	return out
}

// leastFiles is about ten for each of 110 Pods in the agent.
const leastFiles = 4096

func openFiles() Result {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return Result{Warn, "open files", err.Error(), "their limit is not known", "look at ulimit -n"}
	}
	r := Result{Level: OK, Name: "open files", Found: fmt.Sprintf("limit %d", l.Max)}
	if l.Max < leastFiles {
		r.Level, r.Consequence, r.Remedy = Warn, "the agent cannot serve many Pods", fmt.Sprintf("ulimit -n %d, or LimitNOFILE= in its unit", leastFiles)
	}
	return r
}

// systemd: without Delegate=yes it may move what the agent makes below its own
// cgroup; our tree lies at the top, where it leaves it alone.
func systemd(running, self string) Result {
	if info, err := os.Stat(running); err != nil || !info.IsDir() {
		return Result{Level: OK, Name: "systemd", Found: "not running; start the agent by hand or with another supervisor"}
	}
	r := Result{Level: OK, Name: "systemd", Found: "running; make install brings a unit with Delegate=yes"}
	if text, _ := read(self); strings.Contains(text, "minikubelet.service") {
		r.Found = "running, and this process is in the agent's unit"
	}
	return r
}
