// SPDX-License-Identifier: Apache-2.0

package spec

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// TestSeccompProfiles: a profile is read below its directory, and nothing leads out.
func TestSeccompProfiles(t *testing.T) {
	top := t.TempDir()
	dir := filepath.Join(top, "seccomp")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	good, err := json.Marshal(specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{{Names: []string{"read"}, Action: specs.ActAllow}}})
	must(err)
	must(os.MkdirAll(filepath.Join(dir, "sub"), 0o755))
	for name, data := range map[string][]byte{
		"seccomp/good.json": good, "seccomp/sub/good.json": good, "outside.json": good, "seccomp/empty.json": []byte("{}"),
		"seccomp/bad.json": []byte("{"), "seccomp/large.json": slices.Repeat([]byte(" "), maxSeccompProfile+1),
	} {
		must(os.WriteFile(filepath.Join(top, name), data, 0o600))
	}
	must(os.Symlink("sub/good.json", filepath.Join(dir, "link.json")))
	must(os.Symlink("../outside.json", filepath.Join(dir, "out.json")))
	must(os.Symlink(filepath.Join(top, "outside.json"), filepath.Join(dir, "absolute.json")))
	must(os.Symlink("..", filepath.Join(dir, "up")))
	must(os.Symlink("/proc/self/root"+top+"/outside.json", filepath.Join(dir, "magic.json")))
	must(unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600))

	for path, want := range map[string]string{
		"good.json": "", "sub/good.json": "", "link.json": "",
		"out.json": "leads out of", "absolute.json": "leads out of", "up/outside.json": "leads out of", "magic.json": "leads out of",
		"../outside.json": "leads out of", "sub/../../outside.json": "leads out of",
		"none.json": "no such file", "sub": "not a regular file", "fifo": "not a regular file",
		"large.json": "is larger than", "bad.json": "decoding seccomp profile failed", "empty.json": "no defaultAction",
	} {
		profile, err := LoadProfiles(Security{Seccomp: SeccompLocalhost, SeccompProfile: path}, Node{SeccompDir: dir})
		if want == "" {
			if err != nil || profile == nil || profile.DefaultAction != specs.ActErrno {
				t.Errorf("%s: %v, %v", path, profile, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), filepath.Join(dir, path)) {
			t.Errorf("%s: %v, want %q and the path", path, err, want)
		}
	}
	if profile, err := LoadProfiles(Security{Seccomp: SeccompLocalhost, SeccompProfile: "none", Privileged: true}, Node{SeccompDir: dir}); profile != nil || err != nil {
		t.Errorf("privileged: %v, %v", profile, err)
	}
	if _, err := LoadProfiles(Security{Seccomp: SeccompLocalhost, SeccompProfile: "a"}, Node{SeccompDir: filepath.Join(top, "none")}); err == nil || !strings.Contains(err.Error(), "cannot load seccomp profile") {
		t.Errorf("no directory: %v", err)
	}
}

// TestSeccompInEffect: which filter a container has.
func TestSeccompInEffect(t *testing.T) {
	own := &specs.LinuxSeccomp{DefaultAction: specs.ActKill}
	for _, c := range []struct {
		name string
		s    Security
		n    Node
		want specs.LinuxSeccompAction // empty: no filter
	}{
		{"unset", Security{}, Node{}, specs.ActErrno},
		{"unset, the node's default is Unconfined", Security{}, Node{SeccompDefault: SeccompUnconfined}, ""},
		{"unset, the node's default is RuntimeDefault", Security{}, Node{SeccompDefault: SeccompRuntimeDefault}, specs.ActErrno},
		{"unset, no seccomp", Security{}, Node{NoSeccomp: true}, ""},
		{"asked for", Security{Seccomp: SeccompRuntimeDefault}, Node{SeccompDefault: SeccompUnconfined}, specs.ActErrno},
		{"unconfined", Security{Seccomp: SeccompUnconfined}, Node{}, ""},
		{"localhost", Security{Seccomp: SeccompLocalhost}, Node{}, specs.ActKill},
		{"privileged", Security{Privileged: true}, Node{}, ""},
		{"privileged and asked for", Security{Privileged: true, Seccomp: SeccompLocalhost}, Node{}, ""},
	} {
		s, err := Build(Options{Command: []string{"a"}, UserFiles: &UserFiles{}, Devices: []specs.LinuxDevice{{}}, Security: c.s, Seccomp: own, Node: c.n}, nil)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		got := specs.LinuxSeccompAction("")
		if s.Linux.Seccomp != nil {
			got = s.Linux.Seccomp.DefaultAction
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestAppArmorInEffect(t *testing.T) {
	on := Node{AppArmor: true, AppArmorDefault: AppArmorDefault}
	web := AppArmor{Type: corev1.AppArmorProfileTypeLocalhost, Profile: "web"}
	for _, c := range []struct {
		name      string
		s         Security
		n         Node
		want, err string
	}{
		{name: "no AppArmor", s: Security{}},
		{name: "unset", n: on, want: AppArmorDefault},
		{name: "unset, default not loaded", n: Node{AppArmor: true}},
		{name: "default", s: Security{AppArmor: AppArmor{Type: corev1.AppArmorProfileTypeRuntimeDefault}}, n: on, want: AppArmorDefault},
		{name: "default not loaded", s: Security{AppArmor: AppArmor{Type: corev1.AppArmorProfileTypeRuntimeDefault}}, n: Node{AppArmor: true}, err: "could not be loaded"},
		{name: "unconfined", s: Security{AppArmor: AppArmor{Type: corev1.AppArmorProfileTypeUnconfined}}, n: on},
		{name: "unconfined without AppArmor", s: Security{AppArmor: AppArmor{Type: corev1.AppArmorProfileTypeUnconfined}}},
		{name: "own", s: Security{AppArmor: web}, n: on, want: "web"},
		{name: "own without AppArmor", s: Security{AppArmor: web}, err: "apparmor is not supported"},
		{name: "privileged", s: Security{Privileged: true}, n: on},
		{name: "privileged and own", s: Security{Privileged: true, AppArmor: web}, n: on, want: "web"},
	} {
		s, err := Build(Options{Command: []string{"a"}, UserFiles: &UserFiles{}, Devices: []specs.LinuxDevice{{}}, Security: c.s, Node: c.n}, nil)
		if c.err != "" || err != nil {
			if c.err == "" || err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v, want %q", c.name, err, c.err)
			}
			continue
		}
		if s.Process.ApparmorProfile != c.want {
			t.Errorf("%s: %q, want %q", c.name, s.Process.ApparmorProfile, c.want)
		}
	}
}

func TestAdmitAppArmor(t *testing.T) {
	type profile = corev1.AppArmorProfile
	const key = corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix + "c"
	with := func(p, c *profile, annotation string) *corev1.Pod {
		pod, _ := podWith(&corev1.PodSecurityContext{AppArmorProfile: p}, &corev1.SecurityContext{AppArmorProfile: c})
		if annotation != "" {
			pod.Annotations = map[string]string{key: annotation}
		}
		return pod
	}
	def, off := &profile{Type: corev1.AppArmorProfileTypeRuntimeDefault}, &profile{Type: corev1.AppArmorProfileTypeUnconfined}
	for _, c := range []struct {
		name      string
		pod       *corev1.Pod
		without   string // on a node without AppArmor
		with      string
		effective AppArmor
	}{
		{"nothing", with(nil, nil, ""), "", "", AppArmor{}},
		{"unconfined", with(off, off, ""), "", "", AppArmor{Type: off.Type}},
		{"pod", with(def, nil, ""), ErrNoAppArmor.Error(), "", AppArmor{Type: def.Type}},
		{"container", with(nil, def, ""), ErrNoAppArmor.Error(), "", AppArmor{Type: def.Type}},
		{"annotation", with(nil, nil, "runtime/default"), ErrNoAppArmor.Error(), "", AppArmor{Type: def.Type}},
		{"annotation before the pod's", with(def, nil, "localhost/web"), ErrNoAppArmor.Error(), "", AppArmor{Type: corev1.AppArmorProfileTypeLocalhost, Profile: "web"}},
		{"field before annotation", with(nil, off, "localhost/web"), ErrNoAppArmor.Error(), "", AppArmor{Type: off.Type}},
		{"annotation unconfined", with(nil, nil, "unconfined"), "", "", AppArmor{Type: off.Type}},
		{"annotation without a name", with(nil, nil, "localhost/"), ErrNoAppArmor.Error(), "invalid empty AppArmor profile name", AppArmor{}},
	} {
		for _, n := range []struct {
			node Node
			want string
		}{{Node{}, c.without}, {Node{AppArmor: true}, c.with}} {
			if err := AdmitAppArmor(c.pod, n.node); (err == nil) != (n.want == "") || !strings.HasPrefix(errorText(err), n.want) {
				t.Errorf("%s, AppArmor %v: %v, want %q", c.name, n.node.AppArmor, err, n.want)
			}
		}
		if c.with != "" {
			continue
		}
		if s, err := EffectiveSecurityContext(c.pod, &c.pod.Spec.Containers[0]); err != nil || s.AppArmor != c.effective {
			t.Errorf("%s: %+v, %v, want %+v", c.name, s.AppArmor, err, c.effective)
		}
	}
}

func TestAppArmorLoaded(t *testing.T) {
	list := filepath.Join(t.TempDir(), "profiles")
	if err := os.WriteFile(list, []byte("web (enforce)\n/usr/bin/man (complain)\nlast one (enforce)"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, there := range map[string]bool{"web": true, "/usr/bin/man": true, "last one": true, "we": false, "last": false} {
		if err := appArmorLoaded(list, name); (err == nil) != there {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := appArmorLoaded(list+"x", "web"); err == nil || !strings.HasPrefix(err.Error(), "apparmor profile not found web") {
		t.Error(err)
	}
}

func TestAppArmorEnabled(t *testing.T) {
	sys := t.TempDir()
	if appArmorEnabled(sys) {
		t.Error("enabled on a kernel without")
	}
	for _, dir := range []string{"kernel/security/apparmor", "module/apparmor/parameters"} {
		if err := os.MkdirAll(filepath.Join(sys, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for text, want := range map[string]bool{"Y\n": true, "N\n": false} {
		if err := os.WriteFile(filepath.Join(sys, "module/apparmor/parameters/enabled"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if appArmorEnabled(sys) != want {
			t.Errorf("%q: not %v", text, want)
		}
	}
}
