// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/minikubelet/minikubelet/podmgr/plan"
)

func cpus(text string) corev1.ResourceRequirements {
	list := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(text)}
	return corev1.ResourceRequirements{Requests: list, Limits: list.DeepCopy()}
}

// TestAllocatedComesFromTheStatus: what an earlier agent allocated counts, and not what
// is wanted; a Pod that never started has nothing allocated yet.
func TestAllocatedComesFromTheStatus(t *testing.T) {
	had := cpus("1")
	pod := &corev1.Pod{
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Resources: cpus("2")}, {Name: "b", Resources: cpus("1")}}},
		Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{
			{Name: "a", Resources: &had, AllocatedResources: had.Requests}, {Name: "b", Resources: &had, AllocatedResources: had.Requests},
		}},
	}
	if got := allocated(pod); !sameResources(got, pod) {
		t.Errorf("before the start: %v", got.Spec)
	}
	now := metav1.Now()
	pod.Status.StartTime = &now
	got := allocated(pod)
	if cpu := got.Spec.Containers[0].Resources.Limits.Cpu().String(); cpu != "1" {
		t.Errorf("allocated %s", cpu)
	}
	if pod.Spec.Containers[0].Resources.Limits.Cpu().String() != "2" || sameResources(got, pod) {
		t.Error("the Pod was changed")
	}
	if back := withResources(got, pod); !sameResources(back, pod) {
		t.Errorf("after the allocation: %v", back.Spec)
	}
}

func TestBeyondTheNode(t *testing.T) {
	node := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2"), corev1.ResourceMemory: resource.MustParse("1Gi")}
	if name, total, over := beyond(node, cpus("3").Requests); !over || name != corev1.ResourceCPU || total != 2000 {
		t.Errorf("%s %d %v", name, total, over)
	}
	if _, _, over := beyond(node, cpus("2").Requests); over {
		t.Error("all of the node is not beyond it")
	}
}

// TestWhichResizeIsTriedFirst: the kubelet's order.
func TestWhichResizeIsTriedFirst(t *testing.T) {
	now := time.Now()
	high := int32(1000)
	resize := func(name, from, to string, change func(*worker)) *worker {
		pod := func(cpu string) *corev1.Pod {
			p := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Resources: cpus(cpu)}}}}
			p.Name = name
			return p
		}
		w := &worker{pod: pod(from), desired: pod(to)}
		if change != nil {
			change(w)
		}
		return w
	}
	workers := []*worker{
		resize("untried", "1", "2", nil),
		resize("waits", "1", "2", func(w *worker) { w.pending, w.waitsSince = &plan.PendingResize{}, now }),
		resize("waited-for-an-earlier-agent", "1", "2", func(w *worker) {
			w.desired.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodResizePending, LastTransitionTime: metav1.NewTime(now.Add(-time.Hour))}}
		}),
		resize("urgent", "1", "2", func(w *worker) { w.desired.Spec.Priority = &high }),
		resize("less", "2", "1", nil),
	}
	slices.SortFunc(workers, func(a, b *worker) int { return slices.Compare(a.resizeRank(), b.resizeRank()) })
	var names []string
	for _, w := range workers {
		names = append(names, w.pod.Name)
	}
	if got, want := strings.Join(names, " "), "less urgent waited-for-an-earlier-agent waits untried"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
