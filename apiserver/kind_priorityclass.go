// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	upstream "k8s.io/kubernetes/pkg/apis/scheduling/v1"
	"k8s.io/kubernetes/pkg/apis/scheduling/validation"
	"k8s.io/utils/ptr"

	"github.com/minikubelet/minikubelet/api"
	"github.com/minikubelet/minikubelet/store"
)

func priorityClassKind(s *Server) *kind {
	k := declare[schedulingv1.PriorityClass, schedulingv1.PriorityClassList](&kind{
		group: schedulingv1.GroupName, version: "v1", name: "priorityclasses", singular: "priorityclass", kind: "PriorityClass", short: []string{"pc"},
		verbs: allVerbs, types: schedulingv1.AddToScheme,
		strategy: byRules(api.RulesOf(upstream.SetObjectDefaults_PriorityClass, upstream.Convert_v1_PriorityClass_To_scheduling_PriorityClass,
			validation.ValidatePriorityClass, validation.ValidatePriorityClassUpdate), counted(func(o store.Object) any {
			p := o.(*schedulingv1.PriorityClass)
			return []any{p.Value, p.GlobalDefault, p.Description, p.PreemptionPolicy}
		})),
		columns: []metav1.TableColumnDefinition{
			column("Name", "string", 0, "Name of the PriorityClass."),
			column("Value", "integer", 0, "The priority of its Pods."),
			column("Global-Default", "boolean", 0, "Whether Pods that name no class are of this one."),
			column("Age", "string", 0, "Time since its creation."),
			column("PreemptionPolicy", "string", 1, "Whether its Pods displace others."),
		},
		cells: func(o store.Object) []any {
			p := o.(*schedulingv1.PriorityClass)
			return []any{p.Name, int64(p.Value), p.GlobalDefault, age(p.CreationTimestamp), string(ptr.Deref(p.PreemptionPolicy, ""))}
		},
	})
	k.strategy.keep = func(o store.Object) error {
		if slices.ContainsFunc(systemPriorities(), func(p *schedulingv1.PriorityClass) bool { return p.Name == o.GetName() }) {
			return apierrors.NewForbidden(k.groupResource(), o.GetName(), errors.New("this is a system priority class and cannot be deleted"))
		}
		return nil
	}
	k.strategy.admit = func(o store.Object) error {
		p := o.(*schedulingv1.PriorityClass)
		other, err := defaultPriority(s.cfg.Store)
		if err != nil || !p.GlobalDefault || other == nil || other.Name == p.Name {
			return err
		}
		return apierrors.NewForbidden(k.groupResource(), p.Name,
			fmt.Errorf("PriorityClass %v is already marked as default. Only one default can exist", other.Name))
	}
	return k
}

// systemPriorities are the classes that are always there.
func systemPriorities() []*schedulingv1.PriorityClass {
	class := func(name string, value int32, description string) *schedulingv1.PriorityClass {
		return &schedulingv1.PriorityClass{
			TypeMeta:   metav1.TypeMeta{APIVersion: schedulingv1.SchemeGroupVersion.String(), Kind: "PriorityClass"},
			ObjectMeta: metav1.ObjectMeta{Name: name, Generation: 1}, Value: value, Description: description,
			PreemptionPolicy: ptr.To(corev1.PreemptLowerPriority),
		}
	}
	return []*schedulingv1.PriorityClass{
		class("system-node-critical", 2000001000, "Used for system critical pods that must not be moved from their current node."),
		class("system-cluster-critical", 2000000000, "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary."),
	}
}

// defaultPriority is the class of Pods that name none, nil when there is no such
// class.
func defaultPriority(s *store.Store) (*schedulingv1.PriorityClass, error) {
	var found *schedulingv1.PriorityClass
	err := each(s, "priorityclasses", "", func(p *schedulingv1.PriorityClass) error {
		if p.GlobalDefault && (found == nil || p.Value < found.Value) {
			found = p
		}
		return nil
	})
	return found, err
}
