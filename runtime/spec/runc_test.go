// SPDX-License-Identifier: Apache-2.0

package spec

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// bench runs specifications with the real runc on a busybox root.
type bench struct {
	runc, busybox string
	node          Node
}

func newBench(t *testing.T) bench {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	var b bench
	var err error
	if b.runc, err = exec.LookPath("runc"); err != nil {
		if b.runc, err = filepath.Abs("../../bin/runc"); err != nil || !executable(b.runc) {
			t.Skip("needs runc on PATH or in bin/")
		}
	}
	if b.busybox, err = exec.LookPath("busybox"); err != nil {
		t.Skip("needs busybox (the Debian package busybox-static)")
	}
	if b.node, err = DetectNode(); err != nil {
		t.Fatal(err)
	}
	return b
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode()&0o111 != 0
}

// bundle makes a bundle whose root has busybox under the names of its applets
// used here.
func (b bench) bundle(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	bin := filepath.Join(dir, "rootfs/bin")
	for _, d := range []string{"bin", "etc", "tmp", "proc", "sys", "dev"} {
		if err := os.MkdirAll(filepath.Join(dir, "rootfs", d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(b.busybox)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bin, "busybox"), data, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"sh", "cat", "grep", "touch", "id", "ls", "echo", "mount", "hostname", "mknod", "dd", "sleep", "head", "env"} {
		if err := os.Symlink("busybox", filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"passwd": string(testFiles().Passwd), "group": string(testFiles().Group)} {
		if err := os.WriteFile(filepath.Join(dir, "rootfs/etc", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// run runs one container to its end and returns what it wrote.
func (b bench) run(t *testing.T, bundle string, s *specs.Spec) string {
	t.Helper()
	config, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), config, 0o644); err != nil {
		t.Fatal(err)
	}
	id := fmt.Sprintf("spectest-%d-%d", os.Getpid(), time.Now().UnixNano())
	root := filepath.Join(bundle, "state")
	t.Cleanup(func() { exec.Command(b.runc, "--root", root, "delete", "--force", id).Run() })
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, b.runc, "--root", root, "run", "--bundle", bundle, id).CombinedOutput()
	if err != nil {
		t.Fatalf("runc run: %v\n%s", err, out)
	}
	return string(out)
}

// build makes a specification for a shell script in a bundle.
func (b bench) build(t *testing.T, bundle string, o Options, script string) *specs.Spec {
	t.Helper()
	o.Command = []string{"/bin/sh", "-c", script}
	o.CgroupsPath = fmt.Sprintf("/spectest-%d/%s", os.Getpid(), filepath.Base(filepath.Dir(bundle)))
	o.Node = b.node
	s, err := Build(o, func(use func(string) error) error { return use(filepath.Join(bundle, "rootfs")) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// The parent group that runc made, in every hierarchy.
		for _, pattern := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/*"} {
			dirs, _ := filepath.Glob(filepath.Join(pattern, fmt.Sprintf("spectest-%d", os.Getpid())))
			for _, d := range dirs {
				os.Remove(d)
			}
		}
	})
	return s
}

// want checks lines of the form "name: value".
func want(t *testing.T, out string, values map[string]string) {
	t.Helper()
	got := map[string]string{}
	for _, line := range strings.Split(out, "\n") {
		if name, value, ok := strings.Cut(line, ":"); ok {
			got[name] = strings.TrimSpace(value)
		}
	}
	for name, v := range values {
		if got[name] != v {
			t.Errorf("%s is %q, want %q", name, got[name], v)
		}
	}
	if t.Failed() {
		t.Logf("output:\n%s", out)
	}
}

const look = `
grep -E '^(CapEff|CapBnd|CapAmb|NoNewPrivs|Seccomp|Groups):' /proc/self/status
echo "uid: $(id -u) $(id -g)"
echo "write root: $(touch /x 2>/dev/null && echo yes || echo no)"
echo "write sysctl: $(echo 0 2>/dev/null >/proc/sys/kernel/domainname && echo yes || echo no)"
echo "interrupts: $(head -c 1 /proc/interrupts | grep -c .)"
echo "firmware: $(ls /sys/firmware 2>/dev/null | grep -c .)"
echo "write sys: $(grep -q ' /sys sysfs rw' /proc/mounts && echo yes || echo no)"
echo "write cgroup: $(grep -q ' /sys/fs/cgroup[^ ]* cgroup.* rw' /proc/mounts && echo yes || echo no)"
echo "oom: $(cat /proc/self/oom_score_adj)"
echo "mount: $(mount -t tmpfs t /tmp 2>/dev/null && echo yes || echo no)"
echo "null: $(echo x >/dev/null && echo yes || echo no)"
echo "path: $PATH"
echo "pwd: $(pwd)"
`

func TestRunDefault(t *testing.T) {
	b := newBench(t)
	bundle := b.bundle(t)
	floor := max(-5, b.node.OOMScoreAdjFloor)
	s := b.build(t, bundle, Options{OOMScoreAdj: -5}, look)
	want(t, b.run(t, bundle, s), map[string]string{
		"CapEff": "00000000a80425fb", "CapBnd": "00000000a80425fb", "CapAmb": "0000000000000000",
		"NoNewPrivs": "0", "Seccomp": "2", "Groups": "0 10", "uid": "0 0",
		"write root": "yes", "write sysctl": "no", "interrupts": "0", "firmware": "0", "write sys": "no", "write cgroup": "no",
		"oom": fmt.Sprint(floor), "mount": "no", "null": "yes",
		"path": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "pwd": "/",
	})
}

func TestRunHardened(t *testing.T) {
	b := newBench(t)
	bundle := b.bundle(t)
	s := b.build(t, bundle, Options{WorkingDir: "/tmp", Security: Security{NoNewPrivileges: true, ReadOnlyRootFilesystem: true, Drop: []string{"ALL"},
		RunAsUser: ptr(int64(1000)), RunAsNonRoot: true, SupplementalGroups: []int64{99}}}, look)
	want(t, b.run(t, bundle, s), map[string]string{
		"CapEff": "0000000000000000", "CapBnd": "0000000000000000", "NoNewPrivs": "1", "Seccomp": "2",
		"uid": "1000 1001", "Groups": "10 44 99 1001", "write root": "no", "pwd": "/tmp", "null": "yes",
	})
}

func TestRunUnconfined(t *testing.T) {
	b := newBench(t)
	bundle := b.bundle(t)
	s := b.build(t, bundle, Options{Security: Security{UnmaskedProc: true, Seccomp: SeccompUnconfined, Add: []string{"CAP_SYS_ADMIN"}}}, look)
	want(t, b.run(t, bundle, s), map[string]string{
		"Seccomp": "0", "mount": "yes", "write sysctl": "yes", "CapEff": "00000000a82425fb", "write sys": "no",
		"interrupts": "1",
	})
}

// TestRunLocalhostProfile: a filter of the node's owner takes away one call.
func TestRunLocalhostProfile(t *testing.T) {
	b := newBench(t)
	bundle := b.bundle(t)
	b.node.SeccompDir = t.TempDir()
	profile := `{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["chmod", "fchmodat", "fchmodat2"], "action": "SCMP_ACT_ERRNO"}]}`
	if err := os.WriteFile(filepath.Join(b.node.SeccompDir, "chmod.json"), []byte(profile), 0o600); err != nil {
		t.Fatal(err)
	}
	security := Security{Seccomp: SeccompLocalhost, SeccompProfile: "chmod.json"}
	loaded, err := LoadProfiles(security, b.node)
	if err != nil {
		t.Fatal(err)
	}
	s := b.build(t, bundle, Options{Security: security, Seccomp: loaded},
		look+`echo "chmod: $(busybox chmod 700 /tmp 2>/dev/null && echo yes || echo no)"`)
	want(t, b.run(t, bundle, s), map[string]string{"Seccomp": "2", "chmod": "no", "write root": "yes"})
}

func TestRunPrivileged(t *testing.T) {
	b := newBench(t)
	bundle := b.bundle(t)
	devices, err := HostDevices()
	if err != nil {
		t.Fatal(err)
	}
	own, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, all, _ := strings.Cut(string(own), "CapEff:")
	all, _, _ = strings.Cut(all, "\n")
	s := b.build(t, bundle, Options{Devices: devices, Security: Security{Privileged: true}},
		look+`echo "devices: $(ls -a /dev | grep -c '^kmsg$')"`)
	want(t, b.run(t, bundle, s), map[string]string{
		"Seccomp": "0", "mount": "yes", "write sysctl": "yes", "write sys": "yes", "write cgroup": "yes",
		"CapEff": strings.TrimSpace(all), "devices": "1",
	})
}

func TestRunFiles(t *testing.T) {
	b := newBench(t)
	bundle := b.bundle(t)
	host := t.TempDir()
	file := func(name, text string) string {
		p := filepath.Join(host, name)
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return p
	}
	vol := filepath.Join(host, "vol")
	if err := os.Mkdir(vol, 0o755); err != nil {
		t.Fatal(err)
	}
	s := b.build(t, bundle, Options{Hostname: "h1", Env: []string{"A=b"}, Security: Security{ReadOnlyRootFilesystem: true},
		Files: Files{Hosts: file("hosts", "hosts: 1\n"), Hostname: file("hostname", "hostname: 2\n"), ResolvConf: file("resolv", "resolv: 3\n"),
			Shm: vol, TerminationLog: file("term", ""), TerminationLogPath: "/dev/termination-log"},
		Mounts: []specs.Mount{{Destination: "/new/volume", Type: "bind", Source: vol, Options: []string{"rbind", "rprivate", "ro"}}},
	}, `
cat /etc/hosts /etc/hostname /etc/resolv.conf
echo over > /dev/termination-log
echo shm > /dev/shm/f
echo "volume: $(cat /new/volume/f) $(touch /new/volume/g 2>/dev/null || echo ro)"
echo "env: $HOSTNAME $A"
echo "resolv writable: $(echo >>/etc/resolv.conf 2>/dev/null && echo yes || echo no)"
echo "hosts writable: $(echo >>/etc/hosts 2>/dev/null && echo yes || echo no)"`)
	want(t, b.run(t, bundle, s), map[string]string{"hosts": "1", "hostname": "2", "resolv": "3", "volume": "shm ro", "env": "h1 b",
		"resolv writable": "no", "hosts writable": "yes"})
	if got, _ := os.ReadFile(filepath.Join(host, "term")); string(got) != "over\n" {
		t.Errorf("termination message %q", got)
	}
}

func TestRunPause(t *testing.T) {
	b := newBench(t)
	bundle := b.bundle(t)
	s, err := Pause(PauseOptions{Root: filepath.Join(bundle, "rootfs"), Args: []string{"/bin/sh", "-c", look}, Node: b.node, SharedPID: true,
		CgroupsPath: fmt.Sprintf("/spectest-%d/pause", os.Getpid())})
	if err != nil {
		t.Fatal(err)
	}
	b.build(t, bundle, Options{}, "") // for its clean-up
	want(t, b.run(t, bundle, s), map[string]string{
		"CapEff": "0000000000000000", "CapBnd": "0000000000000000", "NoNewPrivs": "1", "Seccomp": "2",
		"uid": "65535 65535", "write root": "no", "interrupts": "0",
		"oom": fmt.Sprint(max(-998, b.node.OOMScoreAdjFloor)),
	})
}
