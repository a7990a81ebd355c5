// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// TestPinOwnedNamespaces: the namespaces of a Pod with users of its own belong to its user namespace.
func TestPinOwnedNamespaces(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir := filepath.Join(t.TempDir(), "pod")
	t.Cleanup(func() { _ = UnpinNamespaces(dir) })
	options := NamespaceOptions{
		Net: true, IPC: true, UTS: true, Hostname: "web-0", IDs: specs.LinuxIDMapping{HostID: 3 << 16, Size: 1 << 16},
		Sysctls:  map[string]string{"net.core.somaxconn": "17", "kernel.shm_rmid_forced": "1", "fs.mqueue.msg_max": "11"},
		Defaults: map[string]string{"net.ipv4.ping_group_range": "0 2147483647"},
	}
	before := mustOutput(t, "cat", "/proc/sys/kernel/shm_rmid_forced", "/proc/sys/fs/mqueue/msg_max")
	first, err := PinNamespaces(dir, options)
	if err != nil {
		t.Fatal(err)
	}
	inode := append(inodes(t, first), stat(t, first.User))
	for _, path := range []string{first.Net, first.IPC, first.UTS} {
		if !os.SameFile(ownerOf(t, path), inode[3]) {
			t.Errorf("%s belongs to another user namespace", path)
		}
	}
	inside := []string{"nsenter", "--user=" + first.User, "--net=" + first.Net, "--ipc=" + first.IPC, "--uts=" + first.UTS}
	got := mustOutput(t, append(inside, "sh", "-c", "cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups; hostname; cd /proc/sys; "+
		"cat net/core/somaxconn kernel/shm_rmid_forced fs/mqueue/msg_max net/ipv4/ping_group_range; echo 1 >net/ipv4/ip_forward && cat net/ipv4/ip_forward")...)
	want := []string{"0", "196608", "65536", "0", "196608", "65536", "allow", "web-0", "17", "1", "11", "0", "65535", "1"}
	if !slices.Equal(strings.Fields(got), want) {
		t.Errorf("inside there is %q, want %q", strings.Fields(got), want)
	}
	if now := mustOutput(t, "cat", "/proc/sys/kernel/shm_rmid_forced", "/proc/sys/fs/mqueue/msg_max"); now != before {
		t.Errorf("the host's parameters became %q", now)
	}
	if children, err := os.ReadFile("/proc/thread-self/children"); err == nil && len(children) > 0 {
		t.Errorf("processes are left: %s", children)
	}

	// Again: all stays. When one is missing, all are made anew, since they belong together.
	if again, err := PinNamespaces(dir, options); err != nil || again != first || !os.SameFile(stat(t, again.Net), inode[0]) {
		t.Errorf("again: %+v, %v", again, err)
	}
	if err := release(first.IPC); err != nil {
		t.Fatal(err)
	}
	if again, err := PinNamespaces(dir, options); err != nil || again != first {
		t.Errorf("without one: %+v, %v", again, err)
	}
	user := stat(t, first.User)
	if os.SameFile(user, inode[3]) {
		t.Error("the user namespace is the old one")
	}
	for _, path := range []string{first.Net, first.IPC, first.UTS} {
		if !os.SameFile(ownerOf(t, path), user) {
			t.Errorf("%s belongs to another user namespace than the new one", path)
		}
	}
	if err := UnpinNamespaces(dir); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("left over: %v", err)
	}
}

func TestHostGroups(t *testing.T) {
	ids := specs.LinuxIDMapping{HostID: 1 << 16, Size: 1 << 16}
	for value, want := range map[string]string{
		"0 5": "65536 65541", "0 2147483647": "65536 131071", "1 0": "65537 65536", "3\t4": "65539 65540",
		"65536 65537": "65536 65537", "x": "x", "": "",
	} {
		if got := hostGroups(value, ids); got != want {
			t.Errorf("%q: %q, want %q", value, got, want)
		}
	}
}

func stat(t *testing.T, path string) os.FileInfo {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// ownerOf is the user namespace that the namespace at path belongs to, ioctl_nsfs(2).
func ownerOf(t *testing.T, path string) os.FileInfo {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fd, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_USERNS)
	if err != nil {
		t.Fatal(err)
	}
	user := os.NewFile(uintptr(fd), "user")
	defer user.Close()
	info, err := user.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func mustOutput(t *testing.T, command ...string) string {
	t.Helper()
	out, err := exec.Command(command[0], command[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v: %s", command, err, out)
	}
	return string(out)
}
