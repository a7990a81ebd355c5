// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"
	podutil "k8s.io/kubernetes/pkg/api/pod"
	"k8s.io/kubernetes/pkg/apis/core"
	upstream "k8s.io/kubernetes/pkg/apis/core/v1"
	"k8s.io/kubernetes/pkg/apis/core/validation"

	"github.com/minikubelet/minikubelet/api"
	"github.com/minikubelet/minikubelet/store"
)

func podTemplateKind() *kind {
	return declare[corev1.PodTemplate, corev1.PodTemplateList](&kind{
		version: "v1", name: "podtemplates", singular: "podtemplate", kind: "PodTemplate",
		namespaced: true, verbs: allVerbs, types: corev1.AddToScheme,
		strategy: byRules(api.RulesOf(upstream.SetObjectDefaults_PodTemplate, upstream.Convert_v1_PodTemplate_To_core_PodTemplate,
			func(t *core.PodTemplate) field.ErrorList {
				return validation.ValidatePodTemplate(t, podutil.GetValidationOptionsFromPodTemplate(&t.Template, nil))
			},
			func(t, old *core.PodTemplate) field.ErrorList {
				return validation.ValidatePodTemplateUpdate(t, old, podutil.GetValidationOptionsFromPodTemplate(&t.Template, &old.Template))
			}), counted(func(o store.Object) any { return o.(*corev1.PodTemplate).Template })),
		columns: []metav1.TableColumnDefinition{
			column("Name", "string", 0, "Name of the PodTemplate."),
			column("Containers", "string", 0, "Names of its containers."),
			column("Images", "string", 0, "Images of its containers."),
			column("Pod Labels", "string", 0, "Labels of Pods made from it."),
		},

		cells: func(o store.Object) []any {
			t := o.(*corev1.PodTemplate)
			var names, images []string
			for i := range t.Template.Spec.Containers {
				names, images = append(names, t.Template.Spec.Containers[i].Name), append(images, t.Template.Spec.Containers[i].Image)
			}
			return []any{t.Name, strings.Join(names, ","), strings.Join(images, ","), labels.FormatLabels(t.Template.Labels)}
		},
	})
}
