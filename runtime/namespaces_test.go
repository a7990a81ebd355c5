// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"testing"
)

func TestPinNamespaces(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir := filepath.Join(t.TempDir(), "pod")
	t.Cleanup(func() { _ = UnpinNamespaces(dir) })
	ours, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	options := NamespaceOptions{Net: true, IPC: true, UTS: true, Hostname: "web-0"}
	first, err := PinNamespaces(dir, options)
	if err != nil {
		t.Fatal(err)
	}
	inode := inodes(t, first)
	for i, kind := range []string{"net", "ipc", "uts"} {
		host, err := os.Stat("/proc/self/ns/" + kind)
		if err != nil {
			t.Fatal(err)
		}
		if os.SameFile(host, inode[i]) {
			t.Errorf("the %s namespace is the host's", kind)
		}
	}
	out, err := exec.Command("nsenter", "--uts="+first.UTS, "hostname").Output()
	if err != nil || strings.TrimSpace(string(out)) != "web-0" {
		t.Errorf("hostname %q, error %v", out, err)
	}
	if err := exec.Command("nsenter", "--net="+first.Net, "busybox", "ping", "-c", "1", "-w", "2", "127.0.0.1").Run(); err != nil {
		t.Errorf("loopback does not answer: %v", err)
	}
	if now, _ := os.Hostname(); now != ours {
		t.Errorf("the host's name became %q", now)
	}

	// Again, as after a crash in the middle: what is there stays, what is missing is added.
	if err := os.Rename(filepath.Join(dir, "ipc"), filepath.Join(dir, "elsewhere")); err == nil {
		t.Error("a mount point could be renamed")
	}
	second, err := PinNamespaces(dir, options)
	if err != nil || second != first {
		t.Errorf("again: %+v, error %v", second, err)
	}
	for i, now := range inodes(t, second) {
		if !os.SameFile(now, inode[i]) {
			t.Errorf("namespace %d was replaced", i)
		}
	}
	for range 2 {
		if err := UnpinNamespaces(dir); err != nil {
			t.Errorf("unpin: %v", err)
		}
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("left over: %v", err)
	}
	partial, err := PinNamespaces(dir, NamespaceOptions{IPC: true})
	if err != nil || partial.Net != "" || partial.UTS != "" || partial.IPC == "" {
		t.Errorf("host network: %+v, error %v", partial, err)
	}
	if completed, err := PinNamespaces(dir, options); err != nil || completed != first {
		t.Errorf("the rest: %+v, error %v", completed, err)
	}
}

// TestPinNamespacesSetsSysctls: in the new namespaces and nowhere else.
func TestPinNamespacesSetsSysctls(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir := filepath.Join(t.TempDir(), "pod")
	t.Cleanup(func() { _ = UnpinNamespaces(dir) })
	const somaxconn, forced = "/proc/sys/net/core/somaxconn", "/proc/sys/kernel/shm_rmid_forced"
	read := func(path string) string {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(data))
	}
	before := read(somaxconn) + read(forced)
	ns, err := PinNamespaces(dir, NamespaceOptions{
		Net: true, IPC: true,
		Sysctls:  map[string]string{"net.core.somaxconn": "17", "kernel.shm_rmid_forced": "1"},
		Defaults: map[string]string{"net.core.somaxconn": "16", "net.ipv4.ping_group_range": "0 5", "net.ipv4.of_another_kernel": "1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("nsenter", "--net="+ns.Net, "--ipc="+ns.IPC, "cat", somaxconn, forced, "/proc/sys/net/ipv4/ping_group_range").CombinedOutput()
	if got := strings.Fields(string(out)); err != nil || strings.Join(got, " ") != "17 1 0 5" {
		t.Errorf("the Pod has %q, %v", got, err)
	}
	if now := read(somaxconn) + read(forced); now != before {
		t.Errorf("the host's became %s", now)
	}
	for _, name := range []string{"net.none", "net./././etc/x", "net.ipv4.ping_group_range"} {
		again := filepath.Join(t.TempDir(), "pod")
		if _, err := PinNamespaces(again, NamespaceOptions{Net: true, Sysctls: map[string]string{name: "x"}}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
		if err := UnpinNamespaces(again); err != nil {
			t.Error(err)
		}
	}
}

func inodes(t *testing.T, ns Namespaces) []os.FileInfo {
	t.Helper()
	var infos []os.FileInfo
	for _, path := range []string{ns.Net, ns.IPC, ns.UTS} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		infos = append(infos, info)
	}
	return infos
}

// TestPinNamespacesLeavesNoThread: the threads that made namespaces end, and every goroutine sees the host's.
func TestPinNamespacesLeavesNoThread(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	for i := range 20 {
		pod := filepath.Join(dir, string(rune('a'+i)))
		t.Cleanup(func() { _ = UnpinNamespaces(pod) })
		if _, err := PinNamespaces(pod, NamespaceOptions{Net: true, UTS: true, Hostname: "other"}); err != nil {
			t.Fatal(err)
		}
	}
	goruntime.GC()
	host, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	tasks, err := filepath.Glob("/proc/self/task/*/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		if ns, err := os.Readlink(task); err == nil && ns != host {
			t.Errorf("%s is %s, the host's is %s", task, ns, host)
		}
	}
}

func TestPinNamespacesFails(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := PinNamespaces(filepath.Join(file, "pod"), NamespaceOptions{IPC: true}); err == nil {
		t.Error("no error for a directory below a file")
	}
}
