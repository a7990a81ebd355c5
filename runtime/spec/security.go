// SPDX-License-Identifier: Apache-2.0

package spec

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/pkg/cap"
	corev1 "k8s.io/api/core/v1"
)

// Seccomp says which system call filter a container gets. The empty value leaves it
// to Node.SeccompDefault.
type Seccomp string

const (
	// SeccompRuntimeDefault is containerd's default profile, made for the
	// container's capabilities.
	SeccompRuntimeDefault Seccomp = "RuntimeDefault"
	// SeccompLocalhost is a profile of the node's owner, see LoadProfiles.
	SeccompLocalhost Seccomp = "Localhost"
	// SeccompUnconfined is no filter.
	SeccompUnconfined Seccomp = "Unconfined"
)

// Security is the security context in effect for one container.
type Security struct {
	Privileged             bool
	ReadOnlyRootFilesystem bool
	NoNewPrivileges        bool

	// Add and Drop hold "CAP_…" names or "ALL".
	Add, Drop []string

	// UnmaskedProc leaves /proc and /sys without masked and read-only paths.
	UnmaskedProc bool

	RunAsUser    *int64
	RunAsGroup   *int64
	RunAsNonRoot bool

	// SupplementalGroups has the Pod's fsGroup first. StrictGroups leaves out
	// the groups that the image's /etc/group gives to the user.
	SupplementalGroups []int64
	StrictGroups       bool

	Seccomp Seccomp
	// SeccompProfile is the relative path of SeccompLocalhost's file.
	SeccompProfile string
	AppArmor       AppArmor

	// Warnings are about fields without effect here; each begins with the
	// field's path below the container or the Pod's spec.
	Warnings []string
}

// EffectiveSecurityContext merges the security contexts of a Pod and of one
// of its containers: where both set a field the container's wins, fields that
// exist at one level only are taken from there. Fields that cannot be
// honoured are errors that start with the field's path.
func EffectiveSecurityContext(pod *corev1.Pod, c *corev1.Container) (Security, error) {
	p, s := pod.Spec.SecurityContext, c.SecurityContext
	if p == nil {
		p = &corev1.PodSecurityContext{}
	}
	if s == nil {
		s = &corev1.SecurityContext{}
	}
	out := Security{
		Privileged:             deref(s.Privileged),
		ReadOnlyRootFilesystem: deref(s.ReadOnlyRootFilesystem),
		// An unset allowPrivilegeEscalation allows it.
		NoNewPrivileges: s.AllowPrivilegeEscalation != nil && !*s.AllowPrivilegeEscalation,
		UnmaskedProc:    s.ProcMount != nil && *s.ProcMount == corev1.UnmaskedProcMount,
		RunAsUser:       first(s.RunAsUser, p.RunAsUser),
		RunAsGroup:      first(s.RunAsGroup, p.RunAsGroup),
		RunAsNonRoot:    deref(first(s.RunAsNonRoot, p.RunAsNonRoot)),
		StrictGroups:    p.SupplementalGroupsPolicy != nil && *p.SupplementalGroupsPolicy == corev1.SupplementalGroupsPolicyStrict,
	}
	if p.FSGroup != nil {
		out.SupplementalGroups = append(out.SupplementalGroups, *p.FSGroup)
	}
	out.SupplementalGroups = append(out.SupplementalGroups, p.SupplementalGroups...)
	if err := out.checkIDs(); err != nil {
		return Security{}, err
	}

	var err error
	if s.Capabilities != nil {
		if out.Add, err = capabilityNames("securityContext.capabilities.add", s.Capabilities.Add); err != nil {
			return Security{}, err
		}
		if out.Drop, err = capabilityNames("securityContext.capabilities.drop", s.Capabilities.Drop); err != nil {
			return Security{}, err
		}
	}
	if out.Seccomp, out.SeccompProfile, err = seccompOf(first(s.SeccompProfile, p.SeccompProfile)); err != nil {
		return Security{}, err
	}
	if out.AppArmor, err = appArmorOf(pod, c); err != nil {
		return Security{}, err
	}
	if first(s.SELinuxOptions, p.SELinuxOptions) != nil {
		out.Warnings = append(out.Warnings, "securityContext.seLinuxOptions: has no effect, SELinux labels are not set on this node")
	}
	if first(s.WindowsOptions, p.WindowsOptions) != nil {
		out.Warnings = append(out.Warnings, "securityContext.windowsOptions: has no effect on Linux")
	}
	return out, nil
}

// checkIDs refuses what the runtime cannot set: IDs are at most 2^31-1, the
// API's own bound.
func (s Security) checkIDs() error {
	check := func(field string, id int64) error {
		if id < 0 || id > math.MaxInt32 {
			return fmt.Errorf("securityContext.%s: %d is out of range, must be 0 to %d", field, id, math.MaxInt32)
		}
		return nil
	}
	if s.RunAsUser != nil {
		if err := check("runAsUser", *s.RunAsUser); err != nil {
			return err
		}
	}
	if s.RunAsGroup != nil {
		if err := check("runAsGroup", *s.RunAsGroup); err != nil {
			return err
		}
	}
	for _, g := range s.SupplementalGroups {
		if err := check("supplementalGroups", g); err != nil {
			return err
		}
	}
	return nil
}

func seccompOf(p *corev1.SeccompProfile) (kind Seccomp, path string, err error) {
	if p == nil {
		return "", "", nil
	}
	switch p.Type {
	case corev1.SeccompProfileTypeRuntimeDefault:
		return SeccompRuntimeDefault, "", nil
	case corev1.SeccompProfileTypeUnconfined:
		return SeccompUnconfined, "", nil
	case corev1.SeccompProfileTypeLocalhost:
		if deref(p.LocalhostProfile) == "" {
			//lint:ignore ST1005 the words are the kubelet's
			return "", "", errors.New("localhostProfile must be set if seccompProfile type is Localhost.")
		}
		return SeccompLocalhost, *p.LocalhostProfile, nil
	}
	return "", "", fmt.Errorf("securityContext.seccompProfile.type: %q is not supported: use RuntimeDefault, Localhost or Unconfined", p.Type)
}

// capabilityNames gives the names as the kernel has them. Kubernetes writes
// them without CAP_ and takes any case.
func capabilityNames(field string, in []corev1.Capability) ([]string, error) {
	var out []string
	for i, c := range in {
		name := strings.ToUpper(string(c))
		if name == "ALL" {
			out = append(out, name)
			continue
		}
		if !strings.HasPrefix(name, "CAP_") {
			name = "CAP_" + name
		}
		if !slices.Contains(cap.Known(), name) {
			return nil, fmt.Errorf("%s[%d]: %q is not a Linux capability", field, i, c)
		}
		out = append(out, name)
	}
	return out, nil
}

func deref[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// first gives the first pointer that is set.
func first[T any](ps ...*T) *T {
	for _, p := range ps {
		if p != nil {
			return p
		}
	}
	return nil
}
