// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	upstream "k8s.io/kubernetes/pkg/apis/core/v1"
	"k8s.io/kubernetes/pkg/apis/core/validation"

	"github.com/minikubelet/minikubelet/api"
	"github.com/minikubelet/minikubelet/store"
)

func resourceQuotaKind() *kind {
	k := declare[corev1.ResourceQuota, corev1.ResourceQuotaList](&kind{
		version: "v1", name: resourceQuotas, singular: "resourcequota", kind: "ResourceQuota", short: []string{"quota"},
		namespaced: true, verbs: allVerbs, types: corev1.AddToScheme,
		strategy: byRules(resourceQuotaRules(), func(o, old store.Object) {
			q := o.(*corev1.ResourceQuota)
			q.Status = corev1.ResourceQuotaStatus{}
			if old != nil {
				q.Status = old.(*corev1.ResourceQuota).Status
			}
		}),
		columns: []metav1.TableColumnDefinition{
			column("Name", "string", 0, "Name of the ResourceQuota."),
			column("Request", "string", 0, "What is requested, of what may be."),
			column("Limit", "string", 0, "The sum of limits, of what it may be."),
			column("Age", "string", 0, "Time since its creation."),
		},

		cells: func(o store.Object) []any { return quotaCells(o.(*corev1.ResourceQuota)) },
	})
	k.subresources = []subresource{k.statusBy(func(o, old store.Object) (field.ErrorList, []string) {
		q := o.(*corev1.ResourceQuota)
		q.Spec = old.(*corev1.ResourceQuota).Spec
		return resourceQuotaRules().Update(q, old), nil
	})}
	return k
}

func resourceQuotaRules() api.Rules {
	return api.RulesOf(upstream.SetObjectDefaults_ResourceQuota, upstream.Convert_v1_ResourceQuota_To_core_ResourceQuota,
		validation.ValidateResourceQuota, validation.ValidateResourceQuotaUpdate)
}

func quotaCells(q *corev1.ResourceQuota) []any {
	var requests, limits []string
	for _, name := range slices.Sorted(maps.Keys(q.Status.Hard)) {
		used, hard := q.Status.Used[name], q.Status.Hard[name]
		text := string(name) + ": " + used.String() + "/" + hard.String()
		if strings.HasPrefix(string(name), "limits.") {
			limits = append(limits, text)
		} else {
			requests = append(requests, text)
		}
	}
	return []any{q.Name, strings.Join(requests, ", "), strings.Join(limits, ", "), age(q.CreationTimestamp)}
}
