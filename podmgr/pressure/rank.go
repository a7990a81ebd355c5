// SPDX-License-Identifier: Apache-2.0

package pressure

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/minikubelet/minikubelet/podmgr/plan"
)

// Usage is what a Pod uses: bytes of memory (its working set) and of disk, inodes,
// processes.
type Usage struct {
	Memory, Disk, Inodes, Processes int64
	Containers                      []ContainerUsage
}

// ContainerUsage is a container's part: its writable layer and its logs.
type ContainerUsage struct {
	Name         string
	Memory, Disk int64
}

func (u *Usage) of(name corev1.ResourceName) int64 {
	switch name {
	case corev1.ResourceMemory:
		return u.Memory
	case corev1.ResourceEphemeralStorage:
		return u.Disk
	case "inodes":
		return u.Inodes
	default:
		return u.Processes
	}
}

// Rank sorts Pods, the first to go first: those whose usage is not known; those
// that use more than they requested; the lower priority; who uses the most beyond
// its request. Processes cannot be requested: there priority and number decide.
func Rank(signal Signal, pods []Candidate) {
	name := signal.Resource()
	slices.SortStableFunc(pods, func(a, b Candidate) int {
		if signal == PIDs {
			return cmp.Or(cmp.Compare(Priority(a.Pod), Priority(b.Pod)), truthFirst(a.Usage == nil, b.Usage == nil), cmp.Compare(b.beyond(name), a.beyond(name)))
		}
		return cmp.Or(
			truthFirst(a.Usage == nil, b.Usage == nil), truthFirst(a.exceeds(name), b.exceeds(name)),
			cmp.Compare(Priority(a.Pod), Priority(b.Pod)), cmp.Compare(b.beyond(name), a.beyond(name)))
	})
}

func (c *Candidate) exceeds(name corev1.ResourceName) bool {
	return c.Usage != nil && c.Usage.of(name) > c.request(name)
}

// beyond is the usage less the request. Inodes are compared with the request for
// storage, as in the kubelet.
func (c *Candidate) beyond(name corev1.ResourceName) int64 {
	if c.Usage == nil {
		return 0
	}
	asked := name
	if name == "inodes" {
		asked = corev1.ResourceEphemeralStorage
	}
	return c.Usage.of(name) - c.request(asked)
}

func truthFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// Message says why a Pod is evicted, in the kubelet's words.
func Message(v Verdict, c *Candidate, seen map[Signal]Observation) string {
	name := v.Reclaim.Signal.Resource()
	text := fmt.Sprintf("The node was low on resource: %v. ", name)
	for _, t := range v.Met {
		if o, ok := seen[t.Signal]; ok && t.Signal.Resource() == name {
			limit := t.Value.of(o.Capacity)
			text += fmt.Sprintf("Threshold quantity: %v, available: %v. ", limit.String(), left(t.Signal, o.Available))
			break
		}
	}
	if c.Usage == nil || name != corev1.ResourceMemory && name != corev1.ResourceEphemeralStorage {
		return text
	}
	more := func(what string, used int64, request resource.Quantity) string {
		return fmt.Sprintf("%s was using %s, request is %s, has larger consumption of %v. ", what, resource.NewQuantity(used, resource.BinarySI), request.String(), name)
	}
	if r := c.Pod.Spec.Resources; r != nil && name == corev1.ResourceMemory {
		if request, ok := r.Requests[name]; ok {
			text += more("Pod "+c.Pod.Name, c.Usage.Memory, request)
		}
	}
	for _, u := range c.Usage.Containers {
		used := u.Memory
		if name == corev1.ResourceEphemeralStorage {
			used = u.Disk
		}
		for _, spec := range slices.Concat(c.Pod.Spec.Containers, c.Pod.Spec.InitContainers) {
			if request := spec.Resources.Requests[name]; spec.Name == u.Name && used > request.Value() {
				text += more("Container "+u.Name, used, request)
			}
		}
	}
	return text
}

func left(s Signal, amount int64) string {
	if strings.HasSuffix(string(s), "inodesFree") || s == PIDs {
		return resource.NewQuantity(amount, resource.DecimalSI).String()
	}
	return resource.NewQuantity(amount, resource.BinarySI).String()
}

// immediate is what a Pod has when a hard threshold is met.
const immediate = time.Second

// EvictionGrace is how long an evicted Pod has. maxGrace bounds it where the
// threshold is a soft one.
func EvictionGrace(t *Threshold, pod *corev1.Pod, maxGrace time.Duration) time.Duration {
	if !t.Soft {
		return immediate
	}
	if s := pod.Spec.TerminationGracePeriodSeconds; s != nil {
		maxGrace = min(maxGrace, plan.Seconds(*s))
	}
	return max(maxGrace, immediate)
}

// Admits says whether a Pod may come to a node with these conditions; if not, why.
func Admits(conditions []corev1.NodeConditionType, pod *corev1.Pod, class corev1.PodQOSClass) (string, bool) {
	if len(conditions) == 0 || Critical(pod) {
		return "", true
	}
	if len(conditions) == 1 && conditions[0] == corev1.NodeMemoryPressure && (class != corev1.PodQOSBestEffort || toleratesMemoryPressure(pod)) {
		return "", true
	}
	return fmt.Sprintf("The node had condition: %v. ", conditions), false
}

func toleratesMemoryPressure(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Spec.Tolerations, func(t corev1.Toleration) bool {
		return (t.Key == corev1.TaintNodeMemoryPressure || t.Key == "" && t.Operator == corev1.TolerationOpExists) &&
			(t.Effect == "" || t.Effect == corev1.TaintEffectNoSchedule) &&
			(t.Operator == corev1.TolerationOpExists || t.Value == "" && (t.Operator == "" || t.Operator == corev1.TolerationOpEqual))
	})
}
