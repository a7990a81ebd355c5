// SPDX-License-Identifier: Apache-2.0

package quota

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Count is what the objects of a namespace use of a quota.
type Count struct {
	quota *corev1.ResourceQuota
	now   time.Time
	used  corev1.ResourceList
}

// NewCount begins to count, at a time.
func NewCount(q *corev1.ResourceQuota, now time.Time) *Count {
	c := &Count{q, now, corev1.ResourceList{}}
	for name := range q.Spec.Hard {
		c.used[name] = resource.Quantity{Format: resource.DecimalSI}
	}
	return c
}

// Needs tells whether objects of a resource may count.
func (c *Count) Needs(gr schema.GroupResource) bool {
	for name := range c.quota.Spec.Hard {
		if counts(gr, name) {
			return true
		}
	}
	return false
}

// Add counts an object.
func (c *Count) Add(gr schema.GroupResource, o runtime.Object) {
	if Matches(c.quota, gr, o) {
		add(c.used, mask(Usage(gr, o, c.now), c.quota.Spec.Hard))
	}
}

// Used is what was counted, of each resource that the quota limits.
func (c *Count) Used() corev1.ResourceList { return c.used }

// Check is why one more object does not fit; old is what it replaces, nil for a new
// one. It has Kubernetes' text.
func (c *Count) Check(gr schema.GroupResource, o, old runtime.Object) error {
	if !Matches(c.quota, gr, o) {
		return nil
	}
	if p, ok := o.(*corev1.Pod); ok {
		if missing := unsaid(p, c.quota.Spec.Hard); missing != "" {
			return fmt.Errorf("failed quota: %s: must specify %s", c.quota.Name, missing)
		}
	}
	more := mask(Usage(gr, o, c.now), c.quota.Spec.Hard)
	if old != nil && Matches(c.quota, gr, old) {
		subtract(more, Usage(gr, old, c.now))
	}
	var exceeded []corev1.ResourceName
	for _, name := range slices.Sorted(maps.Keys(more)) {
		sum, hard := more[name].DeepCopy(), c.quota.Spec.Hard[name]
		if sum.Sign() <= 0 {
			continue
		}
		if sum.Add(c.used[name]); sum.Cmp(hard) > 0 {
			exceeded = append(exceeded, name)
		}
	}
	if len(exceeded) == 0 {
		return nil
	}
	return fmt.Errorf("exceeded quota: %s, requested: %s, used: %s, limited: %s",
		c.quota.Name, list(more, exceeded), list(c.used, exceeded), list(c.quota.Spec.Hard, exceeded))
}

func list(of corev1.ResourceList, names []corev1.ResourceName) string {
	var parts []string
	for _, name := range names {
		q := of[name]
		parts = append(parts, string(name)+"="+q.String())
	}
	return strings.Join(parts, ",")
}

// unsaid lists the resources of a quota that containers have to name and do not; ""
// when there are none. A Pod with resources of its own need not.
func unsaid(p *corev1.Pod, hard corev1.ResourceList) string {
	if r := p.Spec.Resources; r != nil && (len(r.Requests) > 0 || len(r.Limits) > 0) {
		return ""
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(hard)) {
		if !podResources()[name] {
			continue
		}
		var without []string
		for _, list := range [][]corev1.Container{p.Spec.Containers, p.Spec.InitContainers} {
			for i := range list {
				if _, ok := compute(list[i].Resources.Requests, list[i].Resources.Limits)[name]; !ok {
					without = append(without, list[i].Name)
				}
			}
		}
		if len(without) > 0 {
			slices.Sort(without)
			parts = append(parts, fmt.Sprintf("%s for: %s", name, strings.Join(without, ",")))
		}
	}
	return strings.Join(parts, "; ")
}

// mask is what of a list has a name of another.
func mask(of, by corev1.ResourceList) corev1.ResourceList {
	out := corev1.ResourceList{}
	for name, q := range of {
		if _, ok := by[name]; ok {
			out[name] = q.DeepCopy()
		}
	}
	return out
}

func subtract(from, what corev1.ResourceList) {
	for name, q := range from {
		q.Sub(what[name])
		from[name] = q
	}
}
