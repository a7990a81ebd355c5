// SPDX-License-Identifier: Apache-2.0

package quota

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	resourcehelper "k8s.io/component-helpers/resource"
)

// classSuffix comes between a StorageClass and what is counted of it.
const classSuffix = ".storageclass.storage.k8s.io/"

// aliases are the resources that have a name of their own beside count/….
func aliases(gr schema.GroupResource) []corev1.ResourceName {
	names := []corev1.ResourceName{corev1.ResourceName("count/" + gr.String())}
	switch gr {
	case corev1.Resource("configmaps"), corev1.Resource("secrets"), corev1.Resource("resourcequotas"), corev1.Resource("services"), corev1.Resource("persistentvolumeclaims"):
		names = append(names, corev1.ResourceName(gr.Resource))
	}
	return names
}

// counts tells whether objects of a resource count for what a quota limits.
func counts(gr schema.GroupResource, name corev1.ResourceName) bool {
	for _, alias := range aliases(gr) {
		if name == alias {
			return true
		}
	}
	text := string(name)
	switch gr {
	case corev1.Resource("pods"):
		_, ofPods := podResources()[name]
		return ofPods || strings.HasPrefix(text, corev1.ResourceHugePagesPrefix) || strings.HasPrefix(text, corev1.ResourceRequestsHugePagesPrefix)
	case corev1.Resource("services"):
		return name == corev1.ResourceServicesNodePorts || name == corev1.ResourceServicesLoadBalancers
	case corev1.Resource("persistentvolumeclaims"):
		return name == corev1.ResourceRequestsStorage ||
			strings.HasSuffix(text, classSuffix+"persistentvolumeclaims") || strings.HasSuffix(text, classSuffix+"requests.storage")
	}
	return false
}

// podResources are what Pods use, and whether each of their containers has to say
// how much when a quota has it.
func podResources() map[corev1.ResourceName]bool {
	return map[corev1.ResourceName]bool{
		corev1.ResourceCPU: true, corev1.ResourceRequestsCPU: true, corev1.ResourceLimitsCPU: true,
		corev1.ResourceMemory: true, corev1.ResourceRequestsMemory: true, corev1.ResourceLimitsMemory: true,
		corev1.ResourceEphemeralStorage: false, corev1.ResourceRequestsEphemeralStorage: false, corev1.ResourceLimitsEphemeralStorage: false,
		corev1.ResourcePods: false,
	}
}

// Usage is what an object uses at a time.
func Usage(gr schema.GroupResource, o runtime.Object, now time.Time) corev1.ResourceList {
	used := corev1.ResourceList{}
	for _, name := range aliases(gr) {
		used[name] = count(1)
	}
	switch o := o.(type) {
	case *corev1.Pod:
		addPod(used, o, now)
	case *corev1.Service:
		addService(used, o)
	case *corev1.PersistentVolumeClaim:
		addClaim(used, o)
	}
	return used
}

func count(n int) resource.Quantity { return *resource.NewQuantity(int64(n), resource.DecimalSI) }

// addPod counts a Pod that has not ended, and is not late with its end.
func addPod(used corev1.ResourceList, p *corev1.Pod, now time.Time) {
	if p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded {
		return
	}
	if d, grace := p.DeletionTimestamp, p.DeletionGracePeriodSeconds; d != nil && grace != nil &&
		now.Sub(d.Time).Seconds() > float64(*grace) {
		return
	}
	opts := resourcehelper.PodResourcesOptions{UseStatusResources: true}
	add(used, compute(resourcehelper.PodRequests(p, opts), resourcehelper.PodLimits(p, opts)))
}

// compute names requests and limits as quotas do.
func compute(requests, limits corev1.ResourceList) corev1.ResourceList {
	used := corev1.ResourceList{corev1.ResourcePods: count(1)}
	for name, q := range requests {
		if name == corev1.ResourceCPU || name == corev1.ResourceMemory || name == corev1.ResourceEphemeralStorage ||
			strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) {
			used[name], used[corev1.DefaultResourceRequestsPrefix+name] = q, q
		}
	}
	for name, q := range limits {
		if name == corev1.ResourceCPU || name == corev1.ResourceMemory || name == corev1.ResourceEphemeralStorage {
			used["limits."+name] = q
		}
	}
	return used
}

func addService(used corev1.ResourceList, s *corev1.Service) {
	ports, balancers := 0, 0
	fixed := s.Spec.Type == corev1.ServiceTypeLoadBalancer && s.Spec.AllocateLoadBalancerNodePorts != nil && !*s.Spec.AllocateLoadBalancerNodePorts
	switch s.Spec.Type {
	case corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer:
		for i := range s.Spec.Ports {
			if !fixed || s.Spec.Ports[i].NodePort != 0 {
				ports++
			}
		}
	}
	if s.Spec.Type == corev1.ServiceTypeLoadBalancer {
		balancers = 1
	}
	used[corev1.ResourceServicesNodePorts], used[corev1.ResourceServicesLoadBalancers] = count(ports), count(balancers)
}

func addClaim(used corev1.ResourceList, c *corev1.PersistentVolumeClaim) {
	class, ok := c.Annotations[corev1.BetaStorageClassAnnotation]
	if !ok && c.Spec.StorageClassName != nil {
		class = *c.Spec.StorageClassName
	}
	storage, ok := c.Spec.Resources.Requests[corev1.ResourceStorage]
	if given := c.Status.AllocatedResources[corev1.ResourceStorage]; ok && given.Cmp(storage) > 0 {
		storage = given
	}
	storage = storage.DeepCopy()
	storage.RoundUp(0) // whole bytes
	if ok {
		used[corev1.ResourceRequestsStorage] = storage
	}
	if class == "" {
		return
	}
	used[corev1.ResourceName(class+classSuffix)+corev1.ResourcePersistentVolumeClaims] = count(1)
	if ok {
		used[corev1.ResourceName(class+classSuffix)+corev1.ResourceRequestsStorage] = storage
	}
}

// add adds b to a.
func add(a, b corev1.ResourceList) {
	for name, q := range b {
		sum, ok := a[name]
		if !ok {
			a[name] = q.DeepCopy()
			continue
		}
		sum.Add(q)
		a[name] = sum
	}
}
