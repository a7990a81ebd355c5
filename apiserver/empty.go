// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/minikubelet/minikubelet/store"
)

// remains is what is left of a namespace's contents.
type remains struct {
	resources  map[string]int // by resource and group, as the condition has them
	finalizers map[string]int
	failures   []string
}

// emptyNamespace removes what an ending namespace has, Pods first, and then the
// namespace. It is called again when something of it is gone.
func (s *Server) emptyNamespace(name string) error {
	var n corev1.Namespace
	if err := s.cfg.Store.Get(namespaces, "", name, &n); err != nil {
		return err
	}
	if n.DeletionTimestamp == nil || !slices.Contains(n.Spec.Finalizers, corev1.FinalizerKubernetes) {
		return nil
	}
	left := remains{resources: make(map[string]int), finalizers: make(map[string]int)}
	for _, k := range s.kinds {
		if k.name == "pods" && k.group == "" {
			s.emptyOf(k, name, &left)
		}
	}
	if len(left.resources) == 0 {
		for _, k := range s.kinds {
			if k.namespaced && k.stores() {
				s.emptyOf(k, name, &left)
			}
		}
	}
	if len(left.resources) > 0 || len(left.failures) > 0 {
		n.Status.Phase = corev1.NamespaceTerminating
		if left.tell(&n.Status) {
			return s.cfg.Store.Update(namespaces, &n)
		}
		return nil
	}
	n.Spec.Finalizers = slices.DeleteFunc(n.Spec.Finalizers, func(f corev1.FinalizerName) bool { return f == corev1.FinalizerKubernetes })
	if finished(&n) {
		return s.cfg.Store.Delete(namespaces, &n)
	}
	return s.cfg.Store.Update(namespaces, &n)
}

// emptyOf removes the objects of a kind, and counts those that take their time.
func (s *Server) emptyOf(k *kind, namespace string, left *remains) {
	var all []store.Object
	list := func() error {
		all = nil
		_, err := s.cfg.Store.List(k.name, namespace, func(data store.Data) error {
			o, err := k.decode(data)
			all = append(all, o)
			return err
		})
		return err
	}
	err := list()
	background := metav1.DeletePropagationBackground
	for _, o := range all {
		_, _, failed := s.end(k, namespace, o.GetName(), &metav1.DeleteOptions{PropagationPolicy: &background})
		if failed != nil && !apierrors.IsNotFound(failed) {
			left.failures = append(left.failures, failed.Error())
		}
	}
	if err == nil {
		err = list()
	}
	if err != nil {
		left.failures = append(left.failures, err.Error())
	}
	for _, o := range all {
		left.resources[k.name+"."+k.group]++
		for _, f := range o.GetFinalizers() {
			left.finalizers[f]++
		}
	}
}

// tell writes the conditions of an ending namespace, with Kubernetes' texts; false
// when nothing has changed.
func (left *remains) tell(status *corev1.NamespaceStatus) bool {
	counted := func(counts map[string]int, format string) string {
		var out []string
		for _, name := range slices.Sorted(maps.Keys(counts)) {
			out = append(out, fmt.Sprintf(format, name, counts[name]))
		}
		return strings.Join(out, ", ")
	}
	changed := false
	set := func(kind corev1.NamespaceConditionType, bad bool, badReason, badMessage, reason, message string) {
		c := corev1.NamespaceCondition{Type: kind, Status: corev1.ConditionFalse, Reason: reason, Message: message, LastTransitionTime: metav1.Now().Rfc3339Copy()}
		if bad {
			c.Status, c.Reason, c.Message = corev1.ConditionTrue, badReason, badMessage
		}
		i := slices.IndexFunc(status.Conditions, func(have corev1.NamespaceCondition) bool { return have.Type == kind })
		if i < 0 {
			status.Conditions, changed = append(status.Conditions, c), true
			return
		}
		have := &status.Conditions[i]
		if have.Status == c.Status {
			c.LastTransitionTime = have.LastTransitionTime
		}
		changed = changed || *have != c
		*have = c
	}
	set(corev1.NamespaceDeletionDiscoveryFailure, false, "", "", "ResourcesDiscovered", "All resources successfully discovered")
	set(corev1.NamespaceDeletionGVParsingFailure, false, "", "", "ParsedGroupVersions", "All legacy kube types successfully parsed")
	slices.Sort(left.failures)
	set(corev1.NamespaceDeletionContentFailure, len(left.failures) > 0, "ContentDeletionFailed",
		fmt.Sprintf("Failed to delete all resource types, %d remaining: %s", len(left.failures), strings.Join(left.failures, ", ")),
		"ContentDeleted", "All content successfully deleted, may be waiting on finalization")
	set(corev1.NamespaceContentRemaining, len(left.resources) > 0, "SomeResourcesRemain",
		"Some resources are remaining: "+counted(left.resources, "%s has %d resource instances"),
		"ContentRemoved", "All content successfully removed")
	set(corev1.NamespaceFinalizersRemaining, len(left.finalizers) > 0, "SomeFinalizersRemain",
		"Some content in the namespace has finalizers remaining: "+counted(left.finalizers, "%s in %d resource instances"),
		"ContentHasNoFinalizers", "All content-preserving finalizers finished")
	return changed
}
