// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/minikubelet/minikubelet/api"
	"github.com/minikubelet/minikubelet/store"
)

// podStrategy does for Pods what kube-apiserver's does, and refuses what this node
// does not honour.
func podStrategy(s *Server) *strategy {
	cfg := &s.cfg
	return &strategy{
		admit: func(o store.Object) error {
			p := o.(*corev1.Pod)
			p.Generation, p.Status = 1, corev1.PodStatus{Phase: corev1.PodPending}
			api.Default(p)
			for _, step := range []func(*store.Store, *corev1.Pod) error{limitDefaults, prioritize, takeRuntimeClass} {
				if err := step(cfg.Store, p); err != nil {
					return err
				}
			}
			return s.place(p)
		},
		create: func(o store.Object) (field.ErrorList, []string) {
			p := o.(*corev1.Pod)
			errs := api.Validate(p)
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
			errs := api.ValidateUpdate(p, old)
			refused, warnings := unsupported(p, cfg.NodeName)
			return append(errs, refused...), warnings
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
	// Gates hold Pods over the API alone: see place.
	return slices.DeleteFunc(errs, func(e *field.Error) bool { return e.Field == "spec.schedulingGates" }), warnings
}
