// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/minikubelet/minikubelet/api"
	"github.com/minikubelet/minikubelet/runtime/image/imagetest"
)

// workload is a Pod's worth of containers.
type workload struct {
	name, about string
	inits, apps []workContainer
	volume      bool
	more        func(*corev1.Pod) // what else the Pod has; may be nil
	goal        string
}

type workContainer struct {
	command []string
	limits  bool
}

func works() []workload {
	quick := workContainer{command: []string{"/bin/true"}}
	long := workContainer{command: []string{"/bin/sh", "-c", "trap 'exit 0' TERM; sleep 100000 & wait"}}
	limited := func(c workContainer) workContainer { c.limits = true; return c }
	return []workload{
		{name: "w1", about: "one app container", apps: []workContainer{long}, goal: "≤ 2.5 × floor"},
		{name: "w2", about: "two init + one app", inits: []workContainer{quick, quick}, apps: []workContainer{long}, goal: "≤ 2 × floor"},
		{
			name: "w3", about: "two init + three apps, shared emptyDir, limits",
			inits: []workContainer{limited(quick), limited(quick)},
			apps:  []workContainer{limited(long), limited(long), limited(long)}, volume: true, goal: "≤ 2 × floor",
		},
	}
}

// pod is the workload as a Pod that stops at once when asked.
func (w workload) pod(serial int) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%d", w.name, serial), Namespace: "default", Generation: 1},
		Spec:       corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, TerminationGracePeriodSeconds: ptr.To[int64](0)},
	}
	for i, c := range w.inits {
		pod.Spec.InitContainers = append(pod.Spec.InitContainers, w.container(fmt.Sprint("init", i), c))
	}
	for i, c := range w.apps {
		pod.Spec.Containers = append(pod.Spec.Containers, w.container(fmt.Sprint("app", i), c))
	}
	if w.volume {
		pod.Spec.Volumes = []corev1.Volume{{Name: "shared", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	}
	if w.more != nil {
		w.more(pod)
	}
	api.Default(pod)
	return pod
}

func (w workload) container(name string, c workContainer) corev1.Container {
	out := corev1.Container{Name: name, Image: imagetest.DefaultName, ImagePullPolicy: corev1.PullNever, Command: c.command}
	if c.limits {
		out.Resources = corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("50m"), corev1.ResourceMemory: resource.MustParse("16Mi")},
			Limits:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("200m"), corev1.ResourceMemory: resource.MustParse("64Mi")},
		}
	}
	if w.volume {
		out.VolumeMounts = []corev1.VolumeMount{{Name: "shared", MountPath: "/shared"}}
	}
	return out
}
