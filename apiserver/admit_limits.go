// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	resourcehelper "k8s.io/component-helpers/resource"

	"github.com/minikubelet/minikubelet/store"
)

// annotationLimits tells what a Pod has from LimitRanges.
const annotationLimits = "kubernetes.io/limit-ranger"

// limitDefaults gives a Pod's containers the requests and limits of its namespace's
// LimitRanges that they do not set themselves.
func limitDefaults(s *store.Store, p *corev1.Pod) error {
	return each(s, "limitranges", p.Namespace, func(l *corev1.LimitRange) error {
		requests, limits := corev1.ResourceList{}, corev1.ResourceList{}
		for _, item := range l.Spec.Limits {
			if item.Type == corev1.LimitTypeContainer {
				maps.Copy(requests, item.DefaultRequest)
				maps.Copy(limits, item.Default)
			}
		}
		var told []string
		for i := range p.Spec.Containers {
			told = append(told, fillResources(&p.Spec.Containers[i], "container", requests, limits)...)
		}
		for i := range p.Spec.InitContainers {
			told = append(told, fillResources(&p.Spec.InitContainers[i], "init container", requests, limits)...)
		}
		if len(told) == 0 {
			return nil
		}
		if p.Annotations == nil {
			p.Annotations = make(map[string]string)
		}
		p.Annotations[annotationLimits] = "LimitRanger plugin set: " + strings.Join(told, "; ")
		return nil
	})
}

// fillResources sets what a container leaves open and says so.
func fillResources(c *corev1.Container, what string, requests, limits corev1.ResourceList) (told []string) {
	for _, part := range []struct {
		name string
		have *corev1.ResourceList
		from corev1.ResourceList
	}{{"request", &c.Resources.Requests, requests}, {"limit", &c.Resources.Limits, limits}} {
		var set []string
		for _, name := range slices.Sorted(maps.Keys(part.from)) {
			if _, ok := (*part.have)[name]; ok {
				continue
			}
			if *part.have == nil {
				*part.have = corev1.ResourceList{}
			}
			(*part.have)[name] = part.from[name].DeepCopy()
			set = append(set, string(name))
		}
		if len(set) > 0 {
			told = append(told, fmt.Sprintf("%s %s for %s %s", strings.Join(set, ", "), part.name, what, c.Name))
		}
	}
	return told
}

// withinLimits is why an object does not keep to the LimitRanges of its namespace.
// They hold for new Pods and for resized ones, and for claims.
func (s *Server) withinLimits(k *kind, o, old store.Object, sub string) error {
	pod, isPod := o.(*corev1.Pod)
	claim, isClaim := o.(*corev1.PersistentVolumeClaim)
	switch {
	case old != nil && old.GetDeletionTimestamp() != nil:
		return nil
	case isPod && (old == nil || sub == "resize"):
	case isClaim && sub == "":
	default:
		return nil
	}
	return each(s.cfg.Store, "limitranges", o.GetNamespace(), func(l *corev1.LimitRange) error {
		var errs []error
		for i := range l.Spec.Limits {
			if isPod {
				errs = append(errs, podLimits(&l.Spec.Limits[i], pod)...)
			} else {
				errs = append(errs, claimLimits(&l.Spec.Limits[i], claim)...)
			}
		}
		if err := utilerrors.NewAggregate(errs); err != nil {
			return apierrors.NewForbidden(k.groupResource(), o.GetName(), err)
		}
		return nil
	})
}

func podLimits(item *corev1.LimitRangeItem, p *corev1.Pod) (errs []error) {
	switch item.Type {
	case corev1.LimitTypeContainer:
		for _, list := range [][]corev1.Container{p.Spec.Containers, p.Spec.InitContainers} {
			for i := range list {
				r := &list[i].Resources
				errs = append(errs, limited(item, r.Requests, r.Limits)...)
			}
		}
	case corev1.LimitTypePod:
		opts := resourcehelper.PodResourcesOptions{ExcludeOverhead: true}
		errs = limited(item, resourcehelper.PodRequests(p, opts), resourcehelper.PodLimits(p, opts))
	}
	return errs
}

func limited(item *corev1.LimitRangeItem, requests, limits corev1.ResourceList) (errs []error) {
	for _, name := range slices.Sorted(maps.Keys(item.Min)) {
		errs = append(errs, atLeast(item.Type, name, item.Min[name], requests, limits))
	}
	for _, name := range slices.Sorted(maps.Keys(item.Max)) {
		errs = append(errs, atMost(item.Type, name, item.Max[name], requests, limits))
	}
	for _, name := range slices.Sorted(maps.Keys(item.MaxLimitRequestRatio)) {
		errs = append(errs, inRatio(item.Type, name, item.MaxLimitRequestRatio[name], requests, limits))
	}
	return errs
}

// claimLimits looks at what a claim requests: its limits mean nothing.
func claimLimits(item *corev1.LimitRangeItem, c *corev1.PersistentVolumeClaim) (errs []error) {
	if item.Type != corev1.LimitTypePersistentVolumeClaim {
		return nil
	}
	requests := c.Spec.Resources.Requests
	for _, name := range slices.Sorted(maps.Keys(item.Min)) {
		errs = append(errs, atLeast(item.Type, name, item.Min[name], requests, nil))
	}
	for _, name := range slices.Sorted(maps.Keys(item.Max)) {
		most, have := item.Max[name], requests[name]
		switch _, ok := requests[name]; {
		case !ok:
			errs = append(errs, fmt.Errorf("maximum %s usage per %s is %s.  No request is specified", name, item.Type, most.String()))
		case have.Cmp(most) > 0:
			errs = append(errs, fmt.Errorf("maximum %s usage per %s is %s, but request is %s", name, item.Type, most.String(), have.String()))
		}
	}
	return errs
}

func atLeast(of corev1.LimitType, name corev1.ResourceName, least resource.Quantity, requests, limits corev1.ResourceList) error {
	request, requested := requests[name]
	limit, isLimited := limits[name]
	begin := fmt.Sprintf("minimum %s usage per %s is %s", name, of, least.String())
	switch {
	case !requested:
		return errors.New(begin + ".  No request is specified")
	case request.Cmp(least) < 0:
		return fmt.Errorf("%s, but request is %s", begin, request.String())
	case isLimited && limit.Cmp(least) < 0:
		return fmt.Errorf("%s, but limit is %s", begin, limit.String())
	}
	return nil
}

func atMost(of corev1.LimitType, name corev1.ResourceName, most resource.Quantity, requests, limits corev1.ResourceList) error {
	request, requested := requests[name]
	limit, isLimited := limits[name]
	begin := fmt.Sprintf("maximum %s usage per %s is %s", name, of, most.String())
	switch {
	case !isLimited:
		return errors.New(begin + ".  No limit is specified")
	case limit.Cmp(most) > 0:
		return fmt.Errorf("%s, but limit is %s", begin, limit.String())
	case requested && request.Cmp(most) > 0:
		return fmt.Errorf("%s, but request is %s", begin, request.String())
	}
	return nil
}

func inRatio(of corev1.LimitType, name corev1.ResourceName, most resource.Quantity, requests, limits corev1.ResourceList) error {
	request, limit := requests[name], limits[name]
	begin := fmt.Sprintf("%s max limit to request ratio per %s is %s", name, of, most.String())
	switch {
	case request.IsZero():
		return errors.New(begin + ", but no request is specified or request is 0")
	case limit.IsZero():
		return errors.New(begin + ", but no limit is specified or limit is 0")
	}
	if ratio := limit.AsApproximateFloat64() / request.AsApproximateFloat64(); ratio > most.AsApproximateFloat64() {
		return fmt.Errorf("%s, but provided ratio is %f", begin, ratio)
	}
	return nil
}
