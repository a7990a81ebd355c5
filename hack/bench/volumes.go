// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/minikubelet/minikubelet/podmgr"
)

// What the volumes are measured with.
const (
	manyVolumes    = 10
	manyReaders    = 50
	projectedFiles = 1000
	projectedBytes = 100 // in each
)

func putMap(p *inProcess, name string, data map[string]string) error {
	o := &corev1.ConfigMap{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, Data: data}
	o.Namespace, o.Name = "default", name
	if err := p.agent.Store().Update(podmgr.ConfigMaps, o); err == nil {
		return nil
	}
	return p.agent.Store().Create(podmgr.ConfigMaps, o)
}

// withVolumes is a workload whose first app has these volumes.
func withVolumes(w workload, sources ...corev1.VolumeSource) workload {
	w.more = func(pod *corev1.Pod) {
		for i, source := range sources {
			name := fmt.Sprint("v", i)
			pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: source})
			c := &pod.Spec.Containers[0]
			c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: name, MountPath: "/" + name})
		}
	}
	return w
}

func mapSource(name string) corev1.VolumeSource {
	return corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: name}}}
}

// volumeCost compares starts with and without volumes, in turn.
func (b *bench) volumeCost(ctx context.Context, p *inProcess) error {
	var sources []corev1.VolumeSource
	for i := range manyVolumes {
		name := fmt.Sprint("map", i)
		if err := putMap(p, name, map[string]string{"a": "1", "b": "2", "c": "3"}); err != nil {
			return err
		}
		sources = append(sources, mapSource(name))
	}
	plain := works()[0]
	cost, err := b.cost(ctx, p, plain, withVolumes(plain, sources...))
	if err != nil {
		return err
	}
	b.add(row{What: fmt.Sprintf("w1 with %d configMap volumes, more than without", manyVolumes), Unit: "ms", Ours: cost, Goal: "≤ 5"})
	return nil
}

// updateLatency is the time from an object's change until the last Pod has it.
func (b *bench) updateLatency(ctx context.Context, p *inProcess) error {
	if err := putMap(p, "shared", map[string]string{"k": "0"}); err != nil {
		return err
	}
	w := withVolumes(works()[0], mapSource("shared"))
	var pods []*corev1.Pod
	for range manyReaders {
		pod, err := p.up(ctx, w)
		if err != nil {
			return err
		}
		pods = append(pods, pod)
	}
	var took []float64
	for round := range b.rounds {
		value := fmt.Sprint(round + 1)
		began := time.Now()
		if err := putMap(p, "shared", map[string]string{"k": value}); err != nil {
			return err
		}
		for _, pod := range pods {
			if err := awaitFile(ctx, b.volumePath(pod, "kubernetes.io~configmap")+"/k", value); err != nil {
				return err
			}
		}
		took = append(took, ms(time.Since(began)))
	}
	b.add(row{What: fmt.Sprintf("update of a configMap until %d Pods have it", manyReaders), Unit: "ms", Ours: median(took), Goal: "≤ 2000"})
	for _, pod := range pods {
		if err := p.remove(ctx, pod, ptr.To[int64](0)); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) volumePath(pod *corev1.Pod, kind string) string {
	return b.path("volumes", "data", "pods", string(pod.UID), "volumes", kind, "v0")
}

func awaitFile(ctx context.Context, path, want string) error {
	for {
		if data, err := os.ReadFile(path); err == nil && string(data) == want {
			return nil
		}
		if err := wait(ctx, time.Millisecond); err != nil {
			return err
		}
	}
}

// projectedMemory is what the files of a projected volume take in memory.
func (b *bench) projectedMemory(ctx context.Context, p *inProcess) error {
	data := make(map[string]string, projectedFiles)
	for i := range projectedFiles {
		data[fmt.Sprint("file", i)] = fmt.Sprintf("%*d", projectedBytes, i)
	}
	if err := putMap(p, "large", data); err != nil {
		return err
	}
	source := corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
		{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "large"}}}}}}
	pod, err := p.up(ctx, withVolumes(works()[0], source))
	if err != nil {
		return err
	}
	var st unix.Statfs_t
	if err := unix.Statfs(b.volumePath(pod, "kubernetes.io~projected"), &st); err != nil {
		return err
	}
	b.add(row{What: fmt.Sprintf("%d projected files of %d bytes, in memory", projectedFiles, projectedBytes), Unit: "MB",
		Ours: float64(int64(st.Blocks-st.Bfree)*st.Bsize) / 1e6})
	return p.remove(ctx, pod, ptr.To[int64](0))
}
