// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/minikubelet/minikubelet/api"
	"github.com/minikubelet/minikubelet/store"
)

// annotationFile names the manifest that a Pod belongs to.
const annotationFile = "minikubelet/manifest"

// reserved annotations say to the agent whose a Pod is: clients cannot set them.
var reserved = []string{annotationFile, "minikubelet/run", corev1.MirrorPodAnnotationKey, "kubernetes.io/config.source"}

// checkReserved refuses to change them.
func checkReserved(now, before map[string]string) field.ErrorList {
	var errs field.ErrorList
	for _, key := range reserved {
		if now[key] != before[key] {
			errs = append(errs, field.Forbidden(field.NewPath("metadata", "annotations").Key(key), "the node itself sets this annotation"))
		}
	}
	return errs
}

// podStrategy does for Pods what kube-apiserver's does, and refuses what this node
// does not honour.
func podStrategy(cfg *Config) *strategy {
	return &strategy{
		create: func(o store.Object) (field.ErrorList, []string) {
			p := o.(*corev1.Pod)
			p.Status = corev1.PodStatus{Phase: corev1.PodPending}
			if p.Spec.NodeName == "" { // there is one node, and no scheduler
				p.Spec.NodeName = cfg.NodeName
			}
			api.Default(p)
			errs := append(checkReserved(p.Annotations, nil), api.Validate(p)...)
			refused, warnings := unsupported(p, cfg.NodeName)
			return append(errs, refused...), warnings
		},
		update: func(o, before store.Object) (field.ErrorList, []string) {
			p, old := o.(*corev1.Pod), before.(*corev1.Pod)
			p.Status = old.Status
			api.Default(p)
			if !apiequality.Semantic.DeepEqual(p.Spec, old.Spec) {
				p.Generation++
			}
			errs := append(checkReserved(p.Annotations, old.Annotations), api.ValidateUpdate(p, old)...)
			refused, warnings := unsupported(p, cfg.NodeName)
			return append(errs, refused...), warnings
		},
		refuse: func(o store.Object) error {
			file := o.GetAnnotations()[annotationFile]
			if file == "" {
				return nil
			}
			return apierrors.NewForbidden(corev1.Resource("pods"), o.GetName(),
				fmt.Errorf("it comes from the manifest %s: change or remove that file", file))
		},
		end: func(o store.Object, seconds *int64) bool {
			p := o.(*corev1.Pod)
			if p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
				seconds = ptr.To[int64](0)
			}
			return cfg.AskToEnd(p, seconds)
		},
	}
}

func unsupported(p *corev1.Pod, node string) (field.ErrorList, []string) {
	errs, found := api.Unsupported(p, node)
	var warnings []string
	for _, w := range found {
		warnings = append(warnings, w.Field+": "+w.Message)
	}
	return errs, warnings
}
