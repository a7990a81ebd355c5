// SPDX-License-Identifier: Apache-2.0

package spec

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// goldenOptions are the containers whose specifications lie in testdata.
func goldenOptions() map[string]Options {
	shares := uint64(512)
	full := Options{
		Image: ocispec.ImageConfig{Entrypoint: []string{"/entry"}, Cmd: []string{"serve"}, WorkingDir: "srv", User: "web",
			Env: []string{"PATH=/bin", "LANG=C", "broken"}},
		Args: []string{"--port", "80"}, Env: []string{"LANG=de", "A=1", "A=2=3"}, Hostname: "web-0", TTY: true,
		Namespaces: Namespaces{Net: "/run/netns/x", IPC: "/run/ipc/x", UTS: "/run/uts/x", PID: "/proc/7/ns/pid"},
		Files: Files{Shm: "/run/shm/x", Hosts: "/p/hosts", Hostname: "/p/hostname", ResolvConf: "/p/resolv.conf",
			TerminationLog: "/p/term", TerminationLogPath: "/dev/termination-log"},
		Mounts: []specs.Mount{
			{Destination: "/data/deep/er", Type: "bind", Source: "/v/2", Options: []string{"rbind", "rprivate", "ro"}},
			{Destination: "data/.", Type: "bind", Source: "/v/1", Options: []string{"rbind", "rslave", "rw"}},
		},
		Resources: &specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: &shares}}, CgroupsPath: "/minikubelet/pod1/c1",
		OOMScoreAdj: 900, Annotations: map[string]string{"a": "b"}, UserFiles: testFiles(),
	}
	privileged := Options{
		Command: []string{"sh"}, Args: []string{"-c", "true"}, Env: []string{"HOSTNAME=mine"}, WorkingDir: "/w", Hostname: "h",
		Security:   Security{Privileged: true, ReadOnlyRootFilesystem: true, RunAsUser: ptr(int64(0))},
		Namespaces: Namespaces{Net: HostNamespace, IPC: HostNamespace, UTS: HostNamespace, PID: HostNamespace},
		Files:      Files{Shm: "/dev/shm", Hosts: "/p/hosts", Hostname: "/p/hostname", ResolvConf: "/p/resolv.conf"},
		Mounts: []specs.Mount{
			{Destination: "/etc/hosts", Type: "bind", Source: "/v/hosts", Options: []string{"rbind", "rprivate", "ro"}},
			{Destination: "/dev/", Type: "bind", Source: "/dev", Options: []string{"rbind", "rshared", "rw"}},
		},
		Devices:     []specs.LinuxDevice{{Path: "/dev/fuse", Type: "c", Major: 10, Minor: 229}},
		OOMScoreAdj: -997, UserFiles: &UserFiles{},
		Node: Node{CgroupV2: true, CgroupMountOptions: []string{"nsdelegate"}, OOMScoreAdjFloor: -500, Capabilities: []string{"CAP_KILL", "CAP_SYS_ADMIN"}},
	}
	hardened := Options{
		Command:  []string{"/app"},
		Security: Security{NoNewPrivileges: true, ReadOnlyRootFilesystem: true, Drop: []string{"ALL"}, RunAsUser: ptr(int64(10)), RunAsGroup: ptr(int64(20)), RunAsNonRoot: true, StrictGroups: true},
		Files:    Files{Hosts: "/p/hosts", Hostname: "/p/hostname", ResolvConf: "/p/resolv.conf"},
		Node:     Node{CgroupV2: true, CgroupMountOptions: []string{"nsdelegate"}, MaskedPaths: []string{"/sys/devices/system/cpu/cpu0/thermal_throttle"}},
	}
	open := Options{
		Image:       ocispec.ImageConfig{Cmd: []string{"/bin/sh"}},
		Security:    Security{UnmaskedProc: true, Seccomp: SeccompUnconfined, Add: []string{"CAP_NET_ADMIN"}},
		UserFiles:   &UserFiles{},
		OOMScoreAdj: -5,
	}
	users := full
	users.Namespaces.User, users.Namespaces.IDs = "/run/user/x", specs.LinuxIDMapping{HostID: 1 << 16, Size: 1 << 16}
	users.Security.UnmaskedProc = true
	return map[string]Options{"full": full, "privileged": privileged, "hardened": hardened, "open": open, "users": users}
}

var update = flag.Bool("update", false, "rewrite the golden files")

func TestGolden(t *testing.T) {
	got := map[string]*specs.Spec{}
	for name, o := range goldenOptions() {
		s, err := Build(o, nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got[name] = s
	}
	pause, err := Pause(PauseOptions{Root: "/data/pause", Args: []string{"/pause"}, CgroupsPath: "/minikubelet/pod1/pause",
		Namespaces: Namespaces{Net: "/n", IPC: "/i", UTS: "/u"}, Node: Node{CgroupV2: true, OOMScoreAdjFloor: -1000}})
	if err != nil {
		t.Fatal(err)
	}
	got["pause"] = pause
	users := Namespaces{Net: "/n", IPC: "/i", UTS: "/u", User: "/user", IDs: specs.LinuxIDMapping{HostID: 1 << 16, Size: 1 << 16}}
	if got["pause-shared"], err = Pause(PauseOptions{Root: "/data/pause", Args: []string{"/pause"}, SharedPID: true, Namespaces: users}); err != nil {
		t.Fatal(err)
	}
	users.User = "" // it stays outside, as the same user
	if got["pause-users"], err = Pause(PauseOptions{Root: "/data/pause", Args: []string{"/pause"}, Namespaces: users}); err != nil {
		t.Fatal(err)
	}
	for name, s := range got {
		t.Run(name, func(t *testing.T) {
			golden(t, filepath.Join("testdata", name+".json"), s)
		})
	}
}

// golden compares a specification with a file. Of the seccomp profile, which
// is containerd's, only the presence counts.
func golden(t *testing.T, path string, s *specs.Spec) {
	t.Helper()
	linux := *s.Linux
	if linux.Seccomp != nil {
		linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: linux.Seccomp.DefaultAction}
	}
	short := *s
	short.Linux = &linux
	got, err := json.MarshalIndent(short, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("differs from %s (go test -update rewrites it):\n%s", path, firstDifference(string(want), string(got)))
	}
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range w {
		if i >= len(g) || w[i] != g[i] {
			return fmt.Sprintf("line %d\nwant %s\ngot  %s", i+1, w[i], strings.Join(g[i:min(i+1, len(g))], ""))
		}
	}
	return fmt.Sprintf("longer than wanted by %d lines", len(g)-len(w))
}

func TestBuildErrors(t *testing.T) {
	users := Namespaces{User: "/u", IDs: specs.LinuxIDMapping{HostID: 1 << 16, Size: 1 << 16}}
	for _, c := range []struct {
		name string
		o    Options
		err  string
	}{
		{"no command", Options{}, "no command specified"},
		{"relative directory", Options{Command: []string{"a"}, WorkingDir: "x"}, `workingDir: "x" is not an absolute path`},
		{"devices forgotten", Options{Command: []string{"a"}, Security: Security{Privileged: true}}, "the devices of the host are not known"},
		{"seccomp", Options{Command: []string{"a"}, Security: Security{Seccomp: "Elsewhere"}}, `seccompProfile.type: "Elsewhere" is not supported`},
		{"seccomp profile not loaded", Options{Command: []string{"a"}, Security: Security{Seccomp: SeccompLocalhost, SeccompProfile: "p.json"}}, `"p.json" is not loaded`},
		{"no seccomp", Options{Command: []string{"a"}, Security: Security{Seccomp: SeccompRuntimeDefault}, Node: Node{NoSeccomp: true}}, "seccomp is not supported"},
		{"user", Options{Command: []string{"a"}, Namespaces: users, Security: Security{RunAsUser: ptr(int64(1 << 16))}}, "user 65536 is not in the Pod's user namespace, which has 0 to 65535"},
		{"group", Options{Command: []string{"a"}, Namespaces: users, Security: Security{RunAsGroup: ptr(int64(1 << 20))}}, "group 1048576 is not in"},
		{"fsGroup", Options{Command: []string{"a"}, Namespaces: users, Security: Security{SupplementalGroups: []int64{5, 1 << 16}}}, "group 65536 is not in"},
		{"no AppArmor", Options{Command: []string{"a"}, Security: Security{AppArmor: AppArmor{Type: "RuntimeDefault"}}}, "apparmor is not supported"},
	} {
		c.o.UserFiles = &UserFiles{}
		if _, err := Build(c.o, nil); err == nil || !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %v, want %q", c.name, err, c.err)
		}
	}
}

func TestArgs(t *testing.T) {
	for _, c := range []struct{ entrypoint, cmd, command, args, want string }{
		{"e", "c", "", "", "e c"},
		{"e", "c", "x", "", "x"},
		{"e", "c", "", "y", "e y"},
		{"e", "c", "x", "y", "x y"},
		{"", "c", "", "", "c"},
		{"", "c", "", "y", "y"},
	} {
		got, err := args(Options{Image: ocispec.ImageConfig{Entrypoint: strings.Fields(c.entrypoint), Cmd: strings.Fields(c.cmd)},
			Command: strings.Fields(c.command), Args: strings.Fields(c.args)})
		if err != nil || strings.Join(got, " ") != c.want {
			t.Errorf("%+v: %v, %v", c, got, err)
		}
	}
}

// Build neither changes its options nor lets two results share memory that
// one of them may change.
func TestBuildIsPure(t *testing.T) {
	for name, o := range goldenOptions() {
		before, _ := json.Marshal(o)
		a, err := Build(o, nil)
		if err != nil {
			t.Fatal(err)
		}
		first, _ := json.Marshal(a)
		a.Linux.Resources.Devices[0].Allow = !a.Linux.Resources.Devices[0].Allow
		a.Process.Env[0] = "X"
		a.Process.Args[0] = "X"
		a.Process.Capabilities.Bounding = append(a.Process.Capabilities.Bounding[:0], "X")
		a.Mounts = slices.Delete(a.Mounts, 0, 1)
		if a.Annotations != nil {
			a.Annotations["x"] = "y"
		}
		b, err := Build(o, nil)
		if err != nil {
			t.Fatal(err)
		}
		second, _ := json.Marshal(b)
		if after, _ := json.Marshal(o); !bytes.Equal(before, after) || !bytes.Equal(first, second) {
			t.Errorf("%s: not the same again", name)
		}
	}
}

func TestSeccompKnowsTheNativeCallsOnly(t *testing.T) {
	o := Options{Command: []string{"a"}, UserFiles: &UserFiles{}}
	s, err := Build(o, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Linux.Seccomp.Architectures; len(got) != 1 {
		t.Errorf("architectures %v", got)
	}
	o.Node.CompatSyscalls = true
	if s, err = Build(o, nil); err != nil {
		t.Fatal(err)
	}
	if got := s.Linux.Seccomp.Architectures; len(got) < 2 {
		t.Errorf("architectures with CompatSyscalls: %v", got)
	}
}

func TestPauseHasAFilterWhenItCanBeTraced(t *testing.T) {
	for _, shared := range []bool{false, true} {
		s, err := Pause(PauseOptions{Args: []string{"/pause"}, SharedPID: shared})
		if err != nil {
			t.Fatal(err)
		}
		if filtered := s.Linux.Seccomp != nil; filtered != shared {
			t.Errorf("shared PID namespace %v, filter %v", shared, filtered)
		}
	}
}

// TestAddedDevices: an ordinary container has them alone, a privileged one besides the
// host's, of which none is at the same path.
func TestAddedDevices(t *testing.T) {
	minor := int64(3)
	o := Options{
		Command: []string{"a"}, UserFiles: &UserFiles{},
		Added:     []specs.LinuxDevice{{Path: "/dev/x", Type: "b", Major: 7, Minor: 3}},
		Devices:   []specs.LinuxDevice{{Path: "/dev/x", Type: "c", Major: 1}, {Path: "/dev/y", Type: "c", Major: 1}},
		Resources: &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: true, Type: "b", Minor: &minor, Access: "r"}}},
	}
	for privileged, want := range map[bool][]string{false: {"b/dev/x"}, true: {"b/dev/x", "c/dev/y"}} {
		o.Security.Privileged = privileged
		s, err := Build(o, nil)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, d := range s.Linux.Devices {
			got = append(got, d.Type+d.Path)
		}
		if !slices.Equal(got, want) {
			t.Errorf("privileged %v: %v, want %v", privileged, got, want)
		}
		if rules := s.Linux.Resources.Devices; len(rules) != 2 || rules[0].Allow != privileged || rules[1].Access != "r" {
			t.Errorf("privileged %v: rules %+v", privileged, rules)
		}
	}
}
