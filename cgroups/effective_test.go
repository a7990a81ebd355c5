// SPDX-License-Identifier: Apache-2.0

package cgroups

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	upstreamqos "k8s.io/kubernetes/pkg/apis/core/v1/helper/qos"
	"pgregory.net/rapid"
)

// list reads "cpu=100m memory=64Mi" as pairs.
func list(pairs ...string) corev1.ResourceList {
	l := corev1.ResourceList{}
	for i := 0; i+1 < len(pairs); i += 2 {
		l[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return l
}

// requests makes a container with requests only.
func requests(pairs ...string) corev1.Container {
	return corev1.Container{Resources: corev1.ResourceRequirements{Requests: list(pairs...)}}
}

// limits makes a container whose requests equal its limits.
func limits(pairs ...string) corev1.Container {
	return corev1.Container{Resources: corev1.ResourceRequirements{Requests: list(pairs...), Limits: list(pairs...)}}
}

func sidecar(c corev1.Container) corev1.Container {
	always := corev1.ContainerRestartPolicyAlways
	c.RestartPolicy = &always
	return c
}

func podOf(inits []corev1.Container, apps ...corev1.Container) *corev1.Pod {
	return &corev1.Pod{Spec: corev1.PodSpec{InitContainers: inits, Containers: apps}}
}

func TestEffectiveRequests(t *testing.T) {
	type containers = []corev1.Container
	tests := []struct {
		name string
		pod  *corev1.Pod
		want corev1.ResourceList
	}{
		{"the apps' sum wins", podOf(containers{requests("cpu", "50m")}, requests("cpu", "100m"), requests("cpu", "200m")), list("cpu", "300m")},
		{"the largest init container wins", podOf(containers{requests("cpu", "1"), requests("cpu", "2")}, requests("cpu", "100m"), requests("cpu", "200m")), list("cpu", "2")},
		{"init containers are not summed", podOf(containers{requests("cpu", "200m"), requests("cpu", "200m")}, requests("cpu", "300m")), list("cpu", "300m")},
		{
			"each resource by itself",
			podOf(containers{requests("cpu", "1", "memory", "16Mi")}, requests("cpu", "100m", "memory", "64Mi"), requests("cpu", "100m", "memory", "64Mi")),
			list("cpu", "1", "memory", "128Mi"),
		},
		{"a resource that only an init container has", podOf(containers{requests("memory", "1Gi")}, requests("cpu", "1")), list("cpu", "1", "memory", "1Gi")},
		{"nothing", podOf(nil, corev1.Container{}), list()},
		{"sidecars run beside the apps", podOf(containers{sidecar(requests("cpu", "100m"))}, requests("cpu", "300m")), list("cpu", "400m")},
		{
			"a sidecar counts for the init containers after it, not before",
			podOf(containers{requests("cpu", "500m"), sidecar(requests("cpu", "100m")), requests("cpu", "450m")}, requests("cpu", "10m")),
			list("cpu", "550m"),
		},
		{
			"two sidecars, largest init before them",
			podOf(containers{requests("cpu", "2"), sidecar(requests("cpu", "1")), sidecar(requests("cpu", "500m"))}, requests("cpu", "100m")),
			list("cpu", "2"),
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := EffectiveOf(tt.pod).Requests; !sameQuantities(got, tt.want) {
				t.Errorf("got %v, want %v", show(got), show(tt.want))
			}
		})
	}
}

func TestEffectiveWithPodLevelAndOverhead(t *testing.T) {
	pod := podOf(nil, limits("cpu", "100m", "memory", "64Mi"))
	pod.Spec.Overhead = list("cpu", "10m", "memory", "8Mi")
	e := EffectiveOf(pod)
	if want := list("cpu", "110m", "memory", "72Mi"); !sameQuantities(e.Requests, want) || !sameQuantities(e.Limits, want) {
		t.Errorf("with overhead: requests %v, limits %v, want %v", show(e.Requests), show(e.Limits), show(want))
	}
	pod.Spec.Resources = &corev1.ResourceRequirements{Requests: list("cpu", "1"), Limits: list("memory", "1Gi")}
	e = EffectiveOf(pod)
	if want := list("cpu", "1010m", "memory", "72Mi"); !sameQuantities(e.Requests, want) {
		t.Errorf("pod-level: requests %v, want %v", show(e.Requests), show(want))
	}
	if want := list("cpu", "110m", "memory", "1032Mi"); !sameQuantities(e.Limits, want) {
		t.Errorf("pod-level: limits %v, want %v", show(e.Limits), show(want))
	}
}

func show(l corev1.ResourceList) string {
	s := map[corev1.ResourceName]string{}
	for k, v := range l {
		s[k] = v.String()
	}
	return fmt.Sprint(s)
}

// anyContainer draws a container as defaulting leaves it: requests never above limits.
func anyContainer(t *rapid.T, init bool) corev1.Container {
	c := corev1.Container{Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{}, Limits: corev1.ResourceList{}}}
	for _, name := range qosResources {
		request := rapid.Int64Range(0, 4000).Draw(t, "request")
		switch rapid.IntRange(0, 3).Draw(t, "shape") {
		case 0:
		case 1:
			c.Resources.Requests[name] = *resource.NewMilliQuantity(request, resource.DecimalSI)
		case 2:
			c.Resources.Requests[name] = *resource.NewMilliQuantity(request, resource.DecimalSI)
			c.Resources.Limits[name] = *resource.NewMilliQuantity(request, resource.DecimalSI)
		case 3:
			c.Resources.Requests[name] = *resource.NewMilliQuantity(request, resource.DecimalSI)
			c.Resources.Limits[name] = *resource.NewMilliQuantity(request+rapid.Int64Range(0, 100).Draw(t, "more"), resource.DecimalSI)
		}
	}
	if init && rapid.Bool().Draw(t, "sidecar") {
		c = sidecar(c)
	}
	return c
}

func anyPod(t *rapid.T) *corev1.Pod {
	pod := &corev1.Pod{}
	for range rapid.IntRange(0, 4).Draw(t, "inits") {
		pod.Spec.InitContainers = append(pod.Spec.InitContainers, anyContainer(t, true))
	}
	for range rapid.IntRange(1, 4).Draw(t, "apps") {
		pod.Spec.Containers = append(pod.Spec.Containers, anyContainer(t, false))
	}
	if rapid.IntRange(0, 3).Draw(t, "pod level") == 0 {
		r := anyContainer(t, false).Resources
		pod.Spec.Resources = &r
	}
	return pod
}

func milli(l corev1.ResourceList, name corev1.ResourceName) int64 {
	q := l[name]
	return q.MilliValue()
}

// The effective request covers every moment of the Pod's life, and no more than the
// most demanding one when there are no sidecars.
func TestEffectiveRequestCoversEveryMoment(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pod := anyPod(t)
		pod.Spec.Resources = nil
		got := EffectiveOf(pod).Requests
		for _, name := range qosResources {
			var apps, sidecars, most int64
			for _, c := range pod.Spec.InitContainers {
				now := milli(c.Resources.Requests, name)
				most = max(most, sidecars+now)
				if isSidecar(&c) {
					sidecars += now
				}
			}
			for _, c := range pod.Spec.Containers {
				apps += milli(c.Resources.Requests, name)
			}
			if want := max(most, apps+sidecars); milli(got, name) != want {
				t.Fatalf("%s: got %d, want %d", name, milli(got, name), want)
			}
		}
	})
}

// Asking for more in one container never lowers what the Pod gets.
func TestEffectiveRequestIsMonotone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pod := anyPod(t)
		before := EffectiveOf(pod)
		all := []*corev1.Container{}
		for i := range pod.Spec.InitContainers {
			all = append(all, &pod.Spec.InitContainers[i])
		}
		for i := range pod.Spec.Containers {
			all = append(all, &pod.Spec.Containers[i])
		}
		c := rapid.SampledFrom(all).Draw(t, "container")
		for _, l := range []corev1.ResourceList{c.Resources.Requests, c.Resources.Limits} {
			q := l[corev1.ResourceCPU]
			q.Add(*resource.NewMilliQuantity(rapid.Int64Range(0, 5000).Draw(t, "more"), resource.DecimalSI))
			l[corev1.ResourceCPU] = q
		}
		after := EffectiveOf(pod)
		if milli(after.Requests, "cpu") < milli(before.Requests, "cpu") || milli(after.Limits, "cpu") < milli(before.Limits, "cpu") {
			t.Fatalf("before %v, after %v", show(before.Requests), show(after.Requests))
		}
		if MilliCPUToShares(milli(after.Requests, "cpu")) < MilliCPUToShares(milli(before.Requests, "cpu")) {
			t.Fatal("shares fell")
		}
	})
}

func TestQOSClassIsUpstreams(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pod := anyPod(t)
		if got, want := QOSClass(pod), upstreamqos.ComputePodQOS(pod); got != want {
			t.Fatalf("got %s, want %s for %+v", got, want, pod.Spec)
		}
	})
}

func TestQOSClass(t *testing.T) {
	tests := []struct {
		name string
		pod  *corev1.Pod
		want corev1.PodQOSClass
	}{
		{"nothing asked", podOf(nil, corev1.Container{}), corev1.PodQOSBestEffort},
		{"zero is nothing", podOf(nil, requests("cpu", "0")), corev1.PodQOSBestEffort},
		{"other resources do not count", podOf(nil, requests("ephemeral-storage", "1Gi")), corev1.PodQOSBestEffort},
		{"a request", podOf(nil, requests("cpu", "1m")), corev1.PodQOSBurstable},
		{"all limited", podOf(nil, limits("cpu", "1", "memory", "1Gi")), corev1.PodQOSGuaranteed},
		{"memory not limited", podOf(nil, limits("cpu", "1")), corev1.PodQOSBurstable},
		{"one container free", podOf(nil, limits("cpu", "1", "memory", "1Gi"), corev1.Container{}), corev1.PodQOSBurstable},
		{"init container free", podOf([]corev1.Container{{}}, limits("cpu", "1", "memory", "1Gi")), corev1.PodQOSBurstable},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := QOSClass(tt.pod); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}
