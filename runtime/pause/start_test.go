// SPDX-License-Identifier: Apache-2.0

package pause

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// TestStart looks at a pause process from outside: who it is, what it may do, and where it is.
func TestStart(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	root := filepath.Join(t.TempDir(), "root")
	if err := Install(root); err != nil {
		t.Fatal(err)
	}
	other := startIn(t, "unshare", "-n", "-i", "-u", "sleep", "1000")
	cgroups := makeCgroups(t)
	score := 500
	s := &specs.Spec{
		Annotations: map[string]string{AnnotationCgroups: strings.Join(cgroups, "\n")},
		Root:        &specs.Root{Path: root},
		Process:     &specs.Process{Args: []string{Program}, Env: []string{"A=b"}, User: specs.User{UID: 65535, GID: 65534, AdditionalGids: []uint32{7}}, OOMScoreAdj: &score},
		Linux: &specs.Linux{Namespaces: []specs.LinuxNamespace{
			{Type: specs.NetworkNamespace, Path: namespace(other, "net")}, {Type: specs.IPCNamespace, Path: namespace(other, "ipc")},
			{Type: specs.UTSNamespace, Path: namespace(other, "uts")}, {Type: specs.PIDNamespace}, {Type: specs.MountNamespace},
		}},
	}
	pid, pidfd, err := Start(s)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pidfd)
	ended := false
	end := func() syscall.WaitStatus {
		var ws syscall.WaitStatus
		ended = true
		if err := unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0); err != nil {
			t.Error(err)
		}
		if _, err := syscall.Wait4(pid, &ws, 0, nil); err != nil {
			t.Error(err)
		}
		return ws
	}
	defer func() {
		if !ended {
			end()
		}
	}()

	status := read(t, pid, "status")
	for _, want := range []string{
		"Uid:\t65535\t65535\t65535\t65535", "Gid:\t65534\t65534\t65534\t65534", "Groups:\t7 \n", "NoNewPrivs:\t1",
		"CapInh:\t0000000000000000", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "CapAmb:\t0000000000000000",
	} {
		if !strings.Contains(status, want) {
			t.Errorf("no %q in its status:\n%s", want, status)
		}
	}
	if got := strings.TrimSpace(read(t, pid, "oom_score_adj")); got != "500" {
		t.Errorf("oom_score_adj %s", got)
	}
	for name, want := range map[string]string{"net": link(t, other, "ns/net"), "ipc": link(t, other, "ns/ipc"), "uts": link(t, other, "ns/uts"), "mnt": link(t, os.Getpid(), "ns/mnt")} {
		if got := link(t, pid, "ns/"+name); got != want {
			t.Errorf("%s namespace %s, want %s", name, got, want)
		}
	}
	if link(t, pid, "ns/pid") == link(t, os.Getpid(), "ns/pid") {
		t.Error("it is in the host's PID namespace")
	}
	if got := link(t, pid, "root"); got != root {
		t.Errorf("its root is %s", got)
	}
	if got := link(t, pid, "fd/0"); got != os.DevNull {
		t.Errorf("its standard input is %s", got)
	}
	for _, dir := range cgroups {
		procs, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if err != nil || strings.TrimSpace(string(procs)) != fmt.Sprint(pid) {
			t.Errorf("%s has %q, %v", dir, procs, err)
		}
	}
	for _, name := range []string{"net", "uts"} {
		if link(t, os.Getpid(), "ns/"+name) == link(t, other, "ns/"+name) {
			t.Errorf("the caller is in the sandbox's %s namespace", name)
		}
	}
	if ws := end(); !ws.Signaled() || ws.Signal() != unix.SIGKILL {
		t.Errorf("ended with %v", ws)
	}
	if err := unix.PidfdSendSignal(pidfd, unix.SIGTERM, nil, 0); err != unix.ESRCH {
		t.Errorf("a signal after the end: %v", err)
	}
}

func TestStartWithoutItsCgroup(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	root := filepath.Join(t.TempDir(), "root")
	if err := Install(root); err != nil {
		t.Fatal(err)
	}
	s := &specs.Spec{
		Annotations: map[string]string{AnnotationCgroups: filepath.Join(t.TempDir(), "none")},
		Root:        &specs.Root{Path: root}, Process: &specs.Process{Args: []string{Program}}, Linux: &specs.Linux{},
	}
	if pid, _, err := Start(s); err == nil || !strings.Contains(err.Error(), "cgroup") {
		t.Errorf("%d, %v", pid, err)
	}
}

func TestInstallMendsWhatIsThere(t *testing.T) {
	root := filepath.Join(t.TempDir(), "root")
	for _, damage := range []func() error{
		func() error { return nil },
		func() error { return os.WriteFile(filepath.Join(root, Program), []byte("x"), 0o600) },
		func() error { return os.Chmod(filepath.Join(root, Program), 0o600) },
		func() error { return os.RemoveAll(root) },
	} {
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		if err := Install(root); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(filepath.Join(root, Program))
		if err != nil || info.Mode().Perm() != 0o755 || info.Size() < 100 {
			t.Errorf("%v, %v", info, err)
		}
	}
}

// startIn starts a command that runs until the end of the test.
func startIn(t *testing.T, args ...string) (pid int) {
	t.Helper()
	c := exec.Command(args[0], args[1:]...)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	for link(t, c.Process.Pid, "ns/net") == link(t, os.Getpid(), "ns/net") || !strings.HasPrefix(read(t, c.Process.Pid, "comm"), args[len(args)-2]) {
		unix.Nanosleep(&unix.Timespec{Nsec: 1e6}, nil)
	}
	return c.Process.Pid
}

// makeCgroups makes a cgroup in the hierarchies of two controllers, or in the one of v2.
func makeCgroups(t *testing.T) []string {
	t.Helper()
	parents := []string{"/sys/fs/cgroup"}
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.procs"); err != nil {
		parents = []string{"/sys/fs/cgroup/pids", "/sys/fs/cgroup/memory"}
	}
	var dirs []string
	for _, parent := range parents {
		dir := filepath.Join(parent, fmt.Sprintf("pausetest-%d", os.Getpid()))
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := os.Remove(dir); err != nil {
				t.Error(err)
			}
		})
		dirs = append(dirs, dir)
	}
	return dirs
}

func namespace(pid int, name string) string { return fmt.Sprintf("/proc/%d/ns/%s", pid, name) }

func read(t *testing.T, pid int, name string) string {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func link(t *testing.T, pid int, name string) string {
	t.Helper()
	target, err := os.Readlink(fmt.Sprintf("/proc/%d/%s", pid, name))
	if err != nil {
		t.Fatal(err)
	}
	return target
}
