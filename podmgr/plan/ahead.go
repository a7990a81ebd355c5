// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// waitingProcess is the memory that a created container's waiting runtime process
// is allowed for. It is charged to the Pod's cgroup until the container starts.
const waitingProcess = 32 << 20

// prepareAhead makes containers before their turn, in order: next init containers,
// then apps. Nothing of it can be told from inside or from the status. They are
// started at their turn and not before.
func (v *view) prepareAhead(d *draft, turn, ahead []*member) {
	if !v.usable() || len(v.outdated) > 0 {
		return
	}
	for _, m := range turn { // who starts first is made first
		if v.wanted(m) && m.made == nil && !d.free(m.key()) {
			return
		}
	}
	for _, m := range ahead {
		if m.made != nil || m.running() || !v.wanted(m) || !v.mayPrecede(m) {
			continue
		}
		if !v.fits(d, m, turn, ahead) {
			return
		}
		v.create(d, m)
	}
}

// mayPrecede says whether a container can be made ahead of its turn without a
// difference: what its making depends on cannot change until then.
func (v *view) mayPrecede(m *member) bool {
	if v.pullsAlways(m) || !v.imageReady(m) || v.anyBidirectional() {
		return false
	}
	if until, _ := v.backingOff(m); !until.IsZero() {
		return false
	}
	if _, failed := v.Seen.Failures[m.key()]; failed { // tell it at its turn
		return false
	}
	if m.ran != nil && v.current(m.ran) {
		return false
	}
	return v.mayPrecedeSandbox(m) && !readsAtStart(m.spec)
}

// pullsAlways says whether an image of the container is pulled for each start.
func (v *view) pullsAlways(m *member) bool {
	for _, mount := range m.spec.VolumeMounts {
		if source := v.imageVolume(mount.Name); source != nil && source.PullPolicy == corev1.PullAlways {
			return true
		}
	}
	return m.spec.ImagePullPolicy == corev1.PullAlways
}

// mayPrecedeSandbox says whether the container can be made now, even while the
// sandbox is not up yet: it needs neither its process namespace nor its address,
// and no directory inside a volume.
func (v *view) mayPrecedeSandbox(m *member) bool {
	for i, mount := range m.spec.VolumeMounts {
		if mount.SubPath != "" || mount.SubPathExpr != "" || liesInVolume(m.spec.VolumeMounts, i) {
			return false
		}
	}
	if v.ready() {
		return true
	}
	if s := v.Pod.Spec.ShareProcessNamespace; s != nil && *s {
		return false
	}
	for _, e := range m.spec.Env {
		if f := e.ValueFrom; f != nil && f.FieldRef != nil && strings.HasPrefix(f.FieldRef.FieldPath, "status.podIP") {
			return len(v.sandbox.IPs) > 0
		}
	}
	return true
}

// liesInVolume says whether a mount lies below another one: its directory there is made
// by somebody who runs before, or, where the other volume is writable, by the runtime,
// and then not before they have looked.
func liesInVolume(mounts []corev1.VolumeMount, i int) bool {
	at := path.Clean(mounts[i].MountPath)
	return slices.ContainsFunc(mounts, func(m corev1.VolumeMount) bool {
		return strings.HasPrefix(at, strings.TrimSuffix(path.Clean(m.MountPath), "/")+"/")
	})
}

// readsAtStart says whether the environment comes from objects, files, labels or
// annotations that may appear or change while init containers run.
func readsAtStart(c *corev1.Container) bool {
	if len(c.EnvFrom) > 0 {
		return true
	}
	for _, e := range c.Env {
		from := e.ValueFrom
		switch {
		case from == nil || from.ResourceFieldRef != nil:
		case from.FieldRef == nil || strings.HasPrefix(from.FieldRef.FieldPath, "metadata.labels") ||
			strings.HasPrefix(from.FieldRef.FieldPath, "metadata.annotations"):
			return true
		}
	}
	return false
}

// anyBidirectional says whether an init container may make mounts that later ones
// have to find at their making.
func (v *view) anyBidirectional() bool {
	for _, m := range v.inits {
		for _, mount := range m.spec.VolumeMounts {
			if p := mount.MountPropagation; p != nil && *p == corev1.MountPropagationBidirectional {
				return true
			}
		}
	}
	return false
}

// fits says whether one more container may wait: whatever init container runs
// before it, there has to be memory left for all that wait meanwhile.
func (v *view) fits(d *draft, m *member, turn, ahead []*member) bool {
	limit, limited := v.memoryLimit()
	if !limited {
		return true
	}
	var sidecars int64
	order := append(append([]*member{}, turn...), ahead...)
	for i, k := range order {
		if k == m || k.role == appRole {
			return true
		}
		own, _ := memory(k.spec)
		waiting := int64(1)
		for _, n := range order[i+1:] {
			if n != m && (n.made != nil || !d.free(n.key())) {
				waiting++
			}
		}
		if (i >= len(turn)-1) && limit-sidecars-own < waiting*waitingProcess {
			return false
		}
		if k.role == sidecarRole {
			sidecars += own
		}
	}
	return true
}

// memoryLimit is the effective memory limit of the Pod: its own, or, when every
// container has one, the larger of the apps' sum and the largest init container,
// with the sidecars that run beside them (KEP-753).
func (v *view) memoryLimit() (bytes int64, limited bool) {
	if r := v.Pod.Spec.Resources; r != nil {
		if q, ok := r.Limits[corev1.ResourceMemory]; ok {
			return q.Value(), true
		}
	}
	var apps, sidecars, peak int64
	for _, m := range v.regular() {
		own, ok := memory(m.spec)
		if !ok {
			return 0, false
		}
		switch m.role {
		case appRole:
			apps += own
		case sidecarRole:
			sidecars += own
			peak = max(peak, sidecars)
		default:
			peak = max(peak, sidecars+own)
		}
	}
	return max(apps+sidecars, peak), true
}

func memory(c *corev1.Container) (bytes int64, limited bool) {
	q, ok := c.Resources.Limits[corev1.ResourceMemory]
	return q.Value(), ok && !q.IsZero()
}
