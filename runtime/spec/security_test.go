// SPDX-License-Identifier: Apache-2.0

package spec

import (
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/securitycontext"
	"pgregory.net/rapid"
)

func ptr[T any](v T) *T { return &v }

func podWith(p *corev1.PodSecurityContext, c *corev1.SecurityContext) (*corev1.Pod, *corev1.Container) {
	pod := &corev1.Pod{Spec: corev1.PodSpec{SecurityContext: p, Containers: []corev1.Container{{Name: "c", SecurityContext: c}}}}
	pod.Name, pod.Namespace, pod.UID = "web", "default", "1234"
	return pod, &pod.Spec.Containers[0]
}

func TestEffectiveSecurityContext(t *testing.T) {
	type P = corev1.PodSecurityContext
	type C = corev1.SecurityContext
	for _, c := range []struct {
		name string
		p    *P
		c    *C
		want Security
		err  string
	}{
		{name: "nothing set", want: Security{}},
		{name: "from the pod", p: &P{RunAsUser: ptr(int64(1)), RunAsGroup: ptr(int64(2)), RunAsNonRoot: ptr(true), FSGroup: ptr(int64(3)),
			SupplementalGroups: []int64{4, 5}, SupplementalGroupsPolicy: ptr(corev1.SupplementalGroupsPolicyStrict),
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeUnconfined}},
			want: Security{RunAsUser: ptr(int64(1)), RunAsGroup: ptr(int64(2)), RunAsNonRoot: true, SupplementalGroups: []int64{3, 4, 5}, StrictGroups: true, Seccomp: SeccompUnconfined}},
		{name: "the container wins", p: &P{RunAsUser: ptr(int64(1)), RunAsGroup: ptr(int64(2)), RunAsNonRoot: ptr(true),
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeUnconfined}},
			c: &C{RunAsUser: ptr(int64(0)), RunAsGroup: ptr(int64(0)), RunAsNonRoot: ptr(false),
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
			want: Security{RunAsUser: ptr(int64(0)), RunAsGroup: ptr(int64(0)), Seccomp: SeccompRuntimeDefault}},
		{name: "container fields", c: &C{Privileged: ptr(true), ReadOnlyRootFilesystem: ptr(true), ProcMount: ptr(corev1.UnmaskedProcMount), AllowPrivilegeEscalation: ptr(true)},
			want: Security{Privileged: true, ReadOnlyRootFilesystem: true, UnmaskedProc: true}},
		{name: "no new privileges", c: &C{AllowPrivilegeEscalation: ptr(false), ProcMount: ptr(corev1.DefaultProcMount)},
			want: Security{NoNewPrivileges: true}},
		{name: "capabilities", c: &C{Capabilities: &corev1.Capabilities{Add: []corev1.Capability{"net_admin", "CAP_SYS_TIME"}, Drop: []corev1.Capability{"all"}}},
			want: Security{Add: []string{"CAP_NET_ADMIN", "CAP_SYS_TIME"}, Drop: []string{"ALL"}}},
		{name: "no such capability", c: &C{Capabilities: &corev1.Capabilities{Add: []corev1.Capability{"CHOWN", "FLY"}}},
			err: `securityContext.capabilities.add[1]: "FLY" is not a Linux capability`},
		{name: "seccomp file", p: &P{SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeLocalhost, LocalhostProfile: ptr("a/b.json")}},
			want: Security{Seccomp: SeccompLocalhost, SeccompProfile: "a/b.json"}},
		{name: "the container's seccomp wins whole", p: &P{SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeLocalhost, LocalhostProfile: ptr("a")}},
			c: &C{SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeUnconfined}}, want: Security{Seccomp: SeccompUnconfined}},
		{name: "seccomp file without a name", c: &C{SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeLocalhost}},
			err: "localhostProfile must be set if seccompProfile type is Localhost."},
		{name: "seccomp of a new kind", c: &C{SeccompProfile: &corev1.SeccompProfile{Type: "New"}}, err: `securityContext.seccompProfile.type: "New" is not supported`},
		{name: "AppArmor", c: &C{AppArmorProfile: &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeRuntimeDefault}},
			want: Security{AppArmor: AppArmor{Type: corev1.AppArmorProfileTypeRuntimeDefault}}},
		{name: "AppArmor of the container wins", p: &P{AppArmorProfile: &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeLocalhost, LocalhostProfile: ptr("web")}},
			c: &C{AppArmorProfile: &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeUnconfined}}, want: Security{AppArmor: AppArmor{Type: corev1.AppArmorProfileTypeUnconfined}}},
		{name: "AppArmor of the pod", p: &P{AppArmorProfile: &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeLocalhost, LocalhostProfile: ptr("web")}},
			want: Security{AppArmor: AppArmor{Type: corev1.AppArmorProfileTypeLocalhost, Profile: "web"}}},
		{name: "AppArmor without a name", p: &P{AppArmorProfile: &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeLocalhost}},
			err: "missing localhost apparmor profile name"},
		{name: "SELinux", p: &P{SELinuxOptions: &corev1.SELinuxOptions{Level: "s0"}},
			want: Security{Warnings: []string{"securityContext.seLinuxOptions: has no effect, SELinux labels are not set on this node"}}},
		{name: "group out of range", p: &P{FSGroup: ptr(int64(1 << 31))}, err: "out of range"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := EffectiveSecurityContext(podWith(c.p, c.c))
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error %v, want %q", err, c.err)
				}
				return
			}
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("got  %+v, %v\nwant %+v", got, err, c.want)
			}
		})
	}
}

// The merge agrees with the kubelet's for every combination.
func TestMergeAsKubelet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.Ptr(rapid.Int64Range(0, 3), true)
		yes := rapid.Ptr(rapid.Bool(), true)
		var p *corev1.PodSecurityContext
		if rapid.Bool().Draw(t, "pod") {
			p = &corev1.PodSecurityContext{RunAsUser: id.Draw(t, "pu"), RunAsGroup: id.Draw(t, "pg"), RunAsNonRoot: yes.Draw(t, "pn")}
		}
		var c *corev1.SecurityContext
		if rapid.Bool().Draw(t, "container") {
			c = &corev1.SecurityContext{RunAsUser: id.Draw(t, "cu"), RunAsGroup: id.Draw(t, "cg"), RunAsNonRoot: yes.Draw(t, "cn"),
				Privileged: yes.Draw(t, "priv"), ReadOnlyRootFilesystem: yes.Draw(t, "ro"), AllowPrivilegeEscalation: yes.Draw(t, "esc")}
		}
		pod, container := podWith(p, c)
		want := securitycontext.DetermineEffectiveSecurityContext(pod, container)
		got, err := EffectiveSecurityContext(pod, container)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got.RunAsUser, want.RunAsUser) || !reflect.DeepEqual(got.RunAsGroup, want.RunAsGroup) ||
			got.RunAsNonRoot != deref(want.RunAsNonRoot) || got.Privileged != deref(want.Privileged) ||
			got.ReadOnlyRootFilesystem != deref(want.ReadOnlyRootFilesystem) || got.NoNewPrivileges != securitycontext.AddNoNewPrivileges(want) {
			t.Fatalf("got %+v, the kubelet has %+v", got, want)
		}
	})
}

func TestCapabilities(t *testing.T) {
	def := strings.Join(defaultCapabilities(), " ")
	some := Node{Capabilities: []string{"CAP_CHOWN", "CAP_KILL", "CAP_NET_ADMIN"}}
	for _, c := range []struct {
		name string
		s    Security
		n    Node
		want string
	}{
		{"default", Security{}, Node{}, def},
		{"drop all", Security{Drop: []string{"ALL"}}, Node{}, ""},
		{"drop all but one", Security{Drop: []string{"ALL"}, Add: []string{"CAP_NET_BIND_SERVICE"}}, Node{}, "CAP_NET_BIND_SERVICE"},
		{"drop wins over add", Security{Drop: []string{"CAP_SYS_TIME"}, Add: []string{"CAP_SYS_TIME"}}, Node{}, def},
		{"add", Security{Add: []string{"CAP_SYS_TIME"}}, Node{}, def + " CAP_SYS_TIME"},
		{"add all drop one", Security{Add: []string{"ALL"}, Drop: []string{"CAP_KILL"}}, some, "CAP_CHOWN CAP_NET_ADMIN"},
		{"add all drop all", Security{Add: []string{"ALL"}, Drop: []string{"ALL"}}, Node{}, ""},
		{"privileged", Security{Privileged: true, Drop: []string{"ALL"}}, some, "CAP_CHOWN CAP_KILL CAP_NET_ADMIN"},
		{"what the node lacks", Security{Add: []string{"CAP_SYS_TIME", "CAP_NET_ADMIN"}}, some, "CAP_CHOWN CAP_KILL CAP_NET_ADMIN"},
	} {
		got := capabilities(c.s, c.n)
		if b := strings.Join(got.Bounding, " "); b != c.want {
			t.Errorf("%s: %s, want %s", c.name, b, c.want)
		}
		if !reflect.DeepEqual(got.Bounding, got.Effective) || !reflect.DeepEqual(got.Bounding, got.Permitted) || got.Ambient != nil || got.Inheritable != nil {
			t.Errorf("%s: sets %+v", c.name, got)
		}
	}
	if got := MissingCapabilities(Security{Add: []string{"ALL", "CAP_SYS_TIME", "CAP_KILL"}}, some); len(got) != 1 || got[0] != "CAP_SYS_TIME" {
		t.Errorf("missing %v", got)
	}
}
