// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	corev1 "k8s.io/api/core/v1"

	"github.com/minikubelet/minikubelet/cgroups"
	"github.com/minikubelet/minikubelet/podmgr/plan"
	"github.com/minikubelet/minikubelet/runtime"
)

// Labels that say what the cgroups were given last, so that an agent that is killed in
// the middle of a resize finds what is left to do.
const (
	// labelResources of a container has plan.Given as JSON.
	labelResources = "minikubelet/resources"
	// labelSize of a sandbox has the values of the Pod's cgroup as JSON.
	labelSize = "minikubelet/size"
	// labelReplaced of a container says that it was stopped to be started anew.
	labelReplaced = "minikubelet/replaced"
)

// givenLabel is labelResources for a container of the Pod.
func givenLabel(pod *corev1.Pod, c *corev1.Container) string { return asJSON(plan.Given(pod, c)) }

// podSize is labelSize for the Pod.
func (n *NodeFacts) podSize(pod *corev1.Pod) string {
	r := cgroups.PodResources(pod, n.CgroupOptions)
	return asJSON(specs.LinuxResources{CPU: r.CPU, Memory: r.Memory})
}

func asJSON(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		panic(fmt.Sprintf("plain values are always JSON: %v", err))
	}
	return string(text)
}

// given is what a container's cgroup was given, nil if that is not on record.
func given(s *runtime.Status) *corev1.ResourceRequirements {
	text := s.Labels[labelResources]
	if text == "" {
		return nil
	}
	r := new(corev1.ResourceRequirements)
	if json.Unmarshal([]byte(text), r) != nil {
		return nil
	}
	return r
}

// resizing is one resize under way: the Pod's cgroup first when it grows, then the
// containers, those that shrink first, then the Pod's cgroup.
type resizing struct {
	*worker
	pod        *corev1.Pod
	qos        corev1.PodQOSClass
	sandbox    string
	has, want  specs.LinuxResources // of the Pod's cgroup
	containers []resizeOf
}

// resizeOf is what one running container has and is to have.
type resizeOf struct {
	container *corev1.Container
	id        string
	has, want corev1.ResourceRequirements
}

// resize gives the cgroups what is allocated. It may be repeated at any point.
func (w *worker) resize(ctx context.Context, pod *corev1.Pod) error {
	z := resizing{worker: w, pod: pod, qos: cgroups.QOSClass(pod)}
	z.find()
	if z.sandbox == "" {
		return nil // the plan is out of date; the next one is not
	}
	whole := cgroups.PodResources(pod, w.CgroupOptions)
	z.want = specs.LinuxResources{CPU: whole.CPU, Memory: whole.Memory}
	if err := z.checkMemory(); err != nil {
		return err
	}
	if err := z.grow(); err != nil {
		return err
	}
	for _, name := range []corev1.ResourceName{corev1.ResourceMemory, corev1.ResourceCPU} {
		slices.SortStableFunc(z.containers, func(a, b resizeOf) int { return a.growth(name) - b.growth(name) })
		for _, c := range z.containers {
			if err := z.update(ctx, c, name); err != nil {
				return err
			}
		}
	}
	if err := w.m.cfg.Cgroups.CreatePod(w.uid, z.qos, whole); err != nil {
		return err
	}
	for _, c := range z.containers {
		if err := w.m.cfg.Runtime.SetLabels(ctx, c.id, map[string]string{labelResources: asJSON(c.want)}); err != nil && !errors.Is(err, runtime.ErrNotFound) {
			return err
		}
	}
	return w.m.cfg.Runtime.SetLabels(ctx, z.sandbox, map[string]string{labelSize: asJSON(z.want)})
}

// find looks which containers have to be changed, and what the Pod's cgroup has.
func (z *resizing) find() {
	stage := z.stage()
	for _, s := range z.m.cfg.Runtime.Pod(z.uid) {
		if s.Kind == runtime.KindSandbox {
			if stage != nil && s.ID == stage.id {
				z.sandbox = s.ID
				_ = json.Unmarshal([]byte(s.Labels[labelSize]), &z.has) // without it, everything is written last
			}
			continue
		}
		if s.State != runtime.StateRunning {
			continue
		}
		c, kind := containerOf(z.pod, s.Name)
		has := given(&s)
		if c == nil || kind == runtime.KindEphemeral || has == nil {
			continue
		}
		if misfit, restart := plan.Misfit(z.pod, c, has); misfit && !restart {
			z.containers = append(z.containers, resizeOf{container: c, id: s.ID, has: *has, want: plan.Given(z.pod, c)})
		}
	}
}

// growth is -1 for a container whose limit shrinks, else 0 or 1.
func (c *resizeOf) growth(name corev1.ResourceName) int {
	want, has := c.want.Limits[name], c.has.Limits[name]
	return want.Cmp(has)
}

// checkMemory refuses to lower a memory limit below what is used: the kernel would kill
// processes. The kubelet does so, too, and tries again later.
func (z *resizing) checkMemory() error {
	var errs []error
	usage := func(at string) (uint64, error) {
		u, err := z.m.cfg.Cgroups.CPUMemory(at)
		return u.Usage, err
	}
	if limit, before := memoryLimit(z.want), memoryLimit(z.has); limit > 0 && (before == 0 || limit < before) {
		used, err := usage(z.m.cfg.Cgroups.PodPath(z.uid, z.qos))
		if err != nil {
			return fmt.Errorf("unable to read memory usage for pod %q: %w", z.pod.Name, err)
		}
		if used >= uint64(limit) {
			errs = append(errs, fmt.Errorf("attempting to set pod memory limit (%d) below current usage (%d)", limit, used))
		}
	}
	for _, c := range z.containers {
		limit, before := c.want.Limits[corev1.ResourceMemory], c.has.Limits[corev1.ResourceMemory]
		if limit.IsZero() || !before.IsZero() && limit.Cmp(before) >= 0 {
			continue
		}
		used, err := usage(z.m.cfg.Cgroups.ContainerPath(z.uid, z.qos, c.id))
		if err != nil {
			return fmt.Errorf("unable to read memory usage for container %q: %w", c.container.Name, err)
		}
		if used >= uint64(limit.Value()) {
			errs = append(errs, fmt.Errorf("attempting to set container %q memory limit (%d) below current usage (%d)", c.container.Name, limit.Value(), used))
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("cannot decrease memory limits: %w", errors.Join(errs...))
	}
	return nil
}

// grow writes those limits of the Pod's cgroup that get larger.
func (z *resizing) grow() error {
	var r specs.LinuxResources
	if limit, before := memoryLimit(z.want), memoryLimit(z.has); limit > before && before > 0 {
		r.Memory = &specs.LinuxMemory{Limit: &limit}
	}
	if quota, before := cpuQuota(z.want), cpuQuota(z.has); quota > before && before > 0 {
		r.CPU = &specs.LinuxCPU{Quota: &quota, Period: z.want.CPU.Period}
	}
	return z.m.cfg.Cgroups.SetPod(z.uid, z.qos, &r)
}

func memoryLimit(r specs.LinuxResources) int64 {
	if r.Memory == nil || r.Memory.Limit == nil {
		return 0
	}
	return *r.Memory.Limit
}

func cpuQuota(r specs.LinuxResources) int64 {
	if r.CPU == nil || r.CPU.Quota == nil {
		return 0
	}
	return *r.CPU.Quota
}

// update changes one resource of one container, which may have ended meanwhile.
func (z *resizing) update(ctx context.Context, c resizeOf, name corev1.ResourceName) error {
	whole := cgroups.ContainerResources(z.pod, c.container, z.CgroupOptions)
	r := &specs.LinuxResources{CPU: whole.CPU}
	if name == corev1.ResourceMemory {
		r = &specs.LinuxResources{Memory: whole.Memory}
		if whole.Memory == nil {
			return nil
		}
	}
	err := z.m.cfg.Runtime.Update(ctx, c.id, r)
	if errors.Is(err, runtime.ErrNotFound) || errors.Is(err, runtime.ErrState) {
		return nil
	}
	return err
}

// markReplaced puts on record that a container is stopped to be started anew.
func (w *worker) markReplaced(ctx context.Context, id string) error {
	err := w.m.cfg.Runtime.SetLabels(ctx, id, map[string]string{labelReplaced: "true"})
	if errors.Is(err, runtime.ErrNotFound) {
		return nil
	}
	return err
}
