// SPDX-License-Identifier: Apache-2.0

package stats

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	metrics "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"github.com/minikubelet/minikubelet/cgroups"
	"github.com/minikubelet/minikubelet/podmgr"
	"github.com/minikubelet/minikubelet/store"
)

// NodeMetrics is the node as metrics.k8s.io shows it; the caller adds labels.
func (r *Reader) NodeMetrics(ctx context.Context) (*metrics.NodeMetrics, error) {
	before, now, err := r.samples.pair(ctx)
	if err != nil {
		return nil, err
	}
	rate, window, _ := nanoCores(before, now, "/", now.node.BootedAt)
	return &metrics.NodeMetrics{
		ObjectMeta: metav1.ObjectMeta{Name: r.cfg.NodeName, CreationTimestamp: metav1.Now()},
		Timestamp:  metav1.NewTime(now.at), Window: metav1.Duration{Duration: window.Round(time.Millisecond)},
		Usage: used(rate, now.node.CPUMemory),
	}, nil
}

// PodMetrics are the running Pods of a namespace, or of all when it is empty, as
// metrics.k8s.io shows them. A Pod of which a container has no figures yet is left
// out, as metrics-server does.
func (r *Reader) PodMetrics(ctx context.Context, namespace string) ([]*metrics.PodMetrics, error) {
	before, now, err := r.samples.pair(ctx)
	if err != nil {
		return nil, err
	}
	objects, err := r.podObjects()
	if err != nil {
		return nil, err
	}
	var out []*metrics.PodMetrics
	for _, p := range now.pods {
		if namespace != "" && p.Namespace != namespace || len(p.containers) == 0 {
			continue
		}
		if m := podMetrics(before, now, p); m != nil {
			if o := objects[types.UID(p.UID)]; o != nil {
				m.Labels = o.Labels
			}
			out = append(out, m)
		}
	}
	return out, nil
}

func podMetrics(before, now *sample, p podSample) *metrics.PodMetrics {
	m := &metrics.PodMetrics{
		ObjectMeta: metav1.ObjectMeta{Name: p.Name, Namespace: p.Namespace, CreationTimestamp: metav1.Now()},
		Timestamp:  metav1.NewTime(now.at),
	}
	for _, c := range p.containers {
		rate, window, ok := nanoCores(before, now, c.CgroupsPath, c.StartedAt)
		if !ok {
			return nil
		}
		m.Window.Duration = max(m.Window.Duration, window.Round(time.Millisecond))
		m.Containers = append(m.Containers, metrics.ContainerMetrics{Name: c.Name, Usage: used(rate, c.CPUMemory)})
	}
	return m
}

func used(nanoCores uint64, u cgroups.CPUMemory) corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewScaledQuantity(int64(nanoCores), resource.Nano),
		corev1.ResourceMemory: *resource.NewQuantity(int64(u.WorkingSet), resource.BinarySI),
	}
}

// listPods reads the store's Pods.
func (r *Reader) listPods() ([]corev1.Pod, error) {
	var pods []corev1.Pod
	_, err := r.cfg.Store.List(podmgr.Pods, "", func(data store.Data) error {
		var p corev1.Pod
		if err := data.Into(&p); err != nil {
			return err
		}
		pods = append(pods, p)
		return nil
	})
	return pods, err
}
