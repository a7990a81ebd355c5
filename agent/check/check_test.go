// SPDX-License-Identifier: Apache-2.0

package check

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/minikubelet/minikubelet/cgroups"
	"github.com/minikubelet/minikubelet/network"
	"github.com/minikubelet/minikubelet/runtime/engine"
)

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// one checks a result's level, and that a lack has consequence and remedy.
func one(t *testing.T, r Result, want Level, part string) {
	t.Helper()
	text := r.Found + " " + r.Consequence + " " + r.Remedy
	if r.Level != want || !strings.Contains(text, part) {
		t.Errorf("%+v; want %s with %q", r, want, part)
	}
	whole(t, r)
}

func whole(t *testing.T, r Result) {
	t.Helper()
	if r.Name == "" || r.Found == "" || (r.Level == OK) != (r.Consequence == "") || (r.Level == OK) != (r.Remedy == "") {
		t.Errorf("incomplete: %+v", r)
	}
}

func TestKernel(t *testing.T) {
	for release, want := range map[string]Level{"6.1.0-13-amd64": OK, "5.12.0": OK, "5.10.0-8": Warn, "5.8.1": Warn, "5.7.19": Fail, "4.19.0": Fail, "odd": Warn} {
		one(t, kernel(release), want, release)
	}
}

func TestPrivileges(t *testing.T) {
	one(t, root(0), OK, "root")
	one(t, root(1000), Fail, "sudo")
	var all []string
	for _, n := range needed {
		all = append(all, n.name)
	}
	r := capabilities(append(all, "CAP_SYS_RESOURCE"), -1000)
	one(t, r[0], OK, "all that are needed")
	one(t, r[1], OK, "-1000")
	r = capabilities(slices.DeleteFunc(slices.Clone(all), func(s string) bool { return s == "CAP_DAC_OVERRIDE" }), 0)
	one(t, r[0], Warn, "CAP_DAC_OVERRIDE")
	one(t, r[1], Warn, "CAP_SYS_RESOURCE")
	one(t, capabilities(nil, 0)[0], Fail, "CAP_SYS_ADMIN")
}

func TestCgroups(t *testing.T) {
	all := map[string]string{"cpu": "/c", "memory": "/c", "pids": "/c"}
	good := cgroup(cgroups.Machine{Mode: cgroups.V2, Mounts: all, Missing: map[string]string{"hugetlb": "lost"}}, nil)
	one(t, good[0], OK, "v2 with cpu, memory, pids")
	one(t, good[1], Warn, "lost")
	one(t, cgroup(cgroups.Machine{Mode: cgroups.V2, ReadOnly: []string{"/sys/fs/cgroup"}}, nil)[0], Fail, "remount /sys/fs/cgroup")
	one(t, cgroup(cgroups.Machine{Mode: cgroups.V2, Busy: []string{"/sys/fs/cgroup"}}, nil)[0], Fail, "move the processes")
	one(t, cgroup(cgroups.Machine{}, errors.New("no cgroups"))[0], Fail, "mount cgroup2")
}

func TestNetworkFacts(t *testing.T) {
	facts := []network.Fact{{Name: "network namespaces", OK: true}, {Name: "bridge", Consequence: "c", Remedy: "r"}, {Name: "nftables", Consequence: "c", Remedy: "r"}}
	got := networkFacts(facts)
	one(t, got[1], Fail, "missing")
	one(t, got[2], Warn, "missing")
	facts[0] = network.Fact{Name: "network namespaces", Consequence: "c", Remedy: "r"}
	if got = networkFacts(facts); len(got) != 1 || got[0].Level != Fail {
		t.Errorf("what could not be tried is told: %+v", got)
	}
}

func TestLimits(t *testing.T) {
	dir := t.TempDir()
	one(t, limits(dir)[0], OK, "high enough") // an older kernel lacks some
	write(t, filepath.Join(dir, "fs/inotify/max_user_instances"), "64\n")
	write(t, filepath.Join(dir, "fs/file-max"), "9223372036854775807\n")
	got := limits(dir)
	if len(got) != 1 {
		t.Fatalf("%+v", got)
	}
	one(t, got[0], Warn, "sysctl -w fs.inotify.max_user_instances=128")
}

func TestResolver(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "resolv.conf")
	one(t, resolver(file), Warn, "none in")
	write(t, file, "nameserver 127.0.0.1\n")
	one(t, resolver(file), Warn, "loopback")
	write(t, file, "nameserver 127.0.0.1\nnameserver 192.0.2.1\n")
	one(t, resolver(file), OK, "192.0.2.1")
}

func TestMemoryAndTime(t *testing.T) {
	dir := t.TempDir()
	for kb, want := range map[string]Level{"1000000": OK, "100000": Warn, "1000": Fail} {
		one(t, memory(write(t, filepath.Join(dir, "m"), "MemTotal: 9 kB\nMemAvailable: "+kb+" kB\n")), want, "MiB")
	}
	one(t, memory(write(t, filepath.Join(dir, "m"), "nonsense")), Warn, "mount /proc")
	now := time.Now()
	one(t, clock(now, now.Add(-time.Hour)), OK, "T")
	one(t, clock(time.Unix(0, 0), now), Warn, "1970")
}

func TestDataDir(t *testing.T) {
	dir := t.TempDir()
	one(t, dataDir(filepath.Join(dir, "a", "b")), OK, "to be made")
	one(t, dataDir(dir), OK, "free")
	lock, err := engine.Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Release()
	one(t, dataDir(dir), OK, "in use by an agent, process")
	one(t, space("x", filepath.Join(dir, "a")), space("x", dir).Level, "free")
}

func TestStorage(t *testing.T) {
	dir := t.TempDir()
	one(t, nfsClient(), OK, "nfs volumes")
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		t.Logf("needs root to mount a file system without quotas: %v", err)
		return
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	one(t, volumeSizes(filepath.Join(dir, "to", "be", "made")), OK, "not enforced")
}

func TestUsable(t *testing.T) {
	if !Usable([]Result{{Level: OK}, {Level: Warn}}) || Usable([]Result{{Level: OK}, {Level: Fail}}) {
		t.Error("a FAIL, and nothing else, makes a machine unusable")
	}
}

// Checking leaves no file, mount, cgroup or interface, and every result is whole.
func TestMachineIsLeftAsItWas(t *testing.T) {
	data := filepath.Join(t.TempDir(), "with, comma:colon", "data")
	if err := os.MkdirAll(data, 0o755); err != nil {
		t.Fatal(err)
	}
	before := machine(t, data)
	results := Machine(Config{DataDir: filepath.Join(data, "later"), RunDir: data, LogDir: data, Capacity: "c", Allocatable: "a"})
	if after := machine(t, data); !reflect.DeepEqual(before, after) {
		t.Errorf("before: %v\nafter: %v", before, after)
	}
	for _, r := range results {
		whole(t, r)
		if r.Name == "overlayfs" && os.Geteuid() == 0 {
			t.Log(r)
		}
	}
	if len(results) < 20 {
		t.Errorf("only %d results", len(results))
	}
}

// machine lists what a check could leave: our own things only, for others use
// the machine at the same time.
func machine(t *testing.T, dir string) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		out["files"] = append(out["files"], path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mounts {
		out["mounts"] = append(out["mounts"], m.Mountpoint)
	}
	for name, pattern := range map[string]string{
		"interfaces": "/sys/class/net/br", "veths": "/sys/class/net/[ab]",
		"cgroups": "/sys/fs/cgroup/*check*", "cgroups below": "/sys/fs/cgroup/*/*check*", "files beside": "/tmp/.minikubelet-check-*",
	} {
		out[name], _ = filepath.Glob(pattern)
	}
	return out
}
