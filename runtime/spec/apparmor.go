// SPDX-License-Identifier: Apache-2.0

package spec

import (
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// AppArmor says under which AppArmor profile a container runs. An empty Type is the
// node's default: RuntimeDefault where the node can. Profile is the name of a
// Localhost profile.
type AppArmor struct {
	Type    corev1.AppArmorProfileType
	Profile string
}

// ErrNoAppArmor is the kubelet's reason for not admitting a Pod with AppArmor
// profiles on a node without them.
var ErrNoAppArmor = errors.New("AppArmor is not enabled on the host")

// AdmitAppArmor refuses, as the kubelet's admission does, a Pod that asks for AppArmor
// profiles where the kernel has none, and profiles without a name.
func AdmitAppArmor(pod *corev1.Pod, n Node) error {
	if !wantsAppArmor(pod) {
		return nil
	}
	if !n.AppArmor {
		return ErrNoAppArmor
	}
	for c := range containersOf(pod) {
		p := appArmorProfile(pod, c)
		if p != nil && p.Type == corev1.AppArmorProfileTypeLocalhost && strings.TrimSpace(deref(p.LocalhostProfile)) == "" {
			return fmt.Errorf("invalid empty AppArmor profile name: %q", p)
		}
	}
	return nil
}

func wantsAppArmor(pod *corev1.Pod) bool {
	confines := func(p *corev1.AppArmorProfile) bool {
		return p != nil && p.Type != corev1.AppArmorProfileTypeUnconfined
	}
	if sc := pod.Spec.SecurityContext; sc != nil && confines(sc.AppArmorProfile) {
		return true
	}
	for c := range containersOf(pod) {
		if c.SecurityContext != nil && confines(c.SecurityContext.AppArmorProfile) {
			return true
		}
	}
	for key, value := range pod.Annotations {
		if strings.HasPrefix(key, corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix) && value != corev1.DeprecatedAppArmorBetaProfileNameUnconfined {
			return true
		}
	}
	return false
}

// containersOf are all containers of a Pod, as containers.
func containersOf(pod *corev1.Pod) func(yield func(*corev1.Container) bool) {
	return func(yield func(*corev1.Container) bool) {
		for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
			for i := range list {
				if !yield(&list[i]) {
					return
				}
			}
		}
		for i := range pod.Spec.EphemeralContainers {
			if !yield((*corev1.Container)(&pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)) {
				return
			}
		}
	}
}

// appArmorProfile is the container's, that of the old annotation, or the Pod's; nil
// when none of them is set.
func appArmorProfile(pod *corev1.Pod, c *corev1.Container) *corev1.AppArmorProfile {
	if c.SecurityContext != nil && c.SecurityContext.AppArmorProfile != nil {
		return c.SecurityContext.AppArmorProfile
	}
	if p := annotatedAppArmor(pod.Annotations[corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix+c.Name]); p != nil {
		return p
	}
	if pod.Spec.SecurityContext != nil {
		return pod.Spec.SecurityContext.AppArmorProfile
	}
	return nil
}

func annotatedAppArmor(value string) *corev1.AppArmorProfile {
	name, localhost := strings.CutPrefix(value, corev1.DeprecatedAppArmorBetaProfileNamePrefix)
	switch {
	case value == corev1.DeprecatedAppArmorBetaProfileRuntimeDefault:
		return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeRuntimeDefault}
	case value == corev1.DeprecatedAppArmorBetaProfileNameUnconfined:
		return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeUnconfined}
	case localhost:
		return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeLocalhost, LocalhostProfile: &name}
	}
	return nil
}

func appArmorOf(pod *corev1.Pod, c *corev1.Container) (AppArmor, error) {
	p := appArmorProfile(pod, c)
	switch {
	case p == nil:
		return AppArmor{}, nil
	case p.Type != corev1.AppArmorProfileTypeLocalhost:
		return AppArmor{Type: p.Type}, nil
	case deref(p.LocalhostProfile) == "":
		return AppArmor{}, errors.New("missing localhost apparmor profile name")
	}
	return AppArmor{Type: p.Type, Profile: *p.LocalhostProfile}, nil
}

// appArmorName is the profile in effect: a privileged container has only one that it
// names, as with containerd's CRI.
func appArmorName(s Security, n Node) (string, error) {
	switch {
	case !n.AppArmor && s.AppArmor.Type != "" && s.AppArmor.Type != corev1.AppArmorProfileTypeUnconfined:
		return "", errors.New("apparmor is not supported")
	case !n.AppArmor || s.AppArmor.Type == corev1.AppArmorProfileTypeUnconfined:
		return "", nil
	case s.AppArmor.Type == corev1.AppArmorProfileTypeLocalhost:
		return s.AppArmor.Profile, nil
	case s.Privileged:
		return "", nil
	case n.AppArmorDefault == "" && s.AppArmor.Type != "":
		return "", errors.New("apparmor is not supported: the default profile could not be loaded, the agent's log says why")
	}
	return n.AppArmorDefault, nil
}
