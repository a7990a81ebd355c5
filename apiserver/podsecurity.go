// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"errors"
	"fmt"
	"net/http"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	security "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"

	"github.com/minikubelet/minikubelet/store"
)

// securityWarnings is how many Pods a namespace's new level names at most.
const securityWarnings = 10

func newSecurity() policy.Evaluator {
	e, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	utilruntime.Must(err) // fails for programming errors only
	return e
}

// privileged is the policy of namespaces without labels: everything is allowed.
func privileged() security.Policy {
	all := security.LevelVersion{Level: security.LevelPrivileged, Version: security.LatestVersion()}
	return security.Policy{Enforce: all, Audit: all, Warn: all}
}

// violation is why a Pod is not of the level; "" when it is.
func (s *Server) violation(level security.LevelVersion, p *corev1.Pod) string {
	result := policy.AggregateCheckResults(s.security.EvaluatePod(level, &p.ObjectMeta, &p.Spec))
	if result.Allowed {
		return ""
	}
	return result.ForbiddenDetail()
}

// admitPod holds a Pod to the pod security levels of its namespace's labels: it
// refuses what violates the one to enforce and warns of what violates the one to
// warn of.
func (s *Server) admitPod(_ *http.Request, o, old store.Object) ([]string, error) {
	p := o.(*corev1.Pod)
	if old != nil && !significant(p, old.(*corev1.Pod)) {
		return nil, nil
	}
	var n corev1.Namespace
	if err := s.cfg.Store.Get(namespaces, "", p.Namespace, &n); err != nil {
		if apierrors.IsNotFound(err) { // who creates the Pod is told so
			return nil, nil
		}
		return nil, err
	}
	levels, errs := security.PolicyToEvaluate(n.Labels, privileged())
	if levels.FullyPrivileged() {
		return nil, nil
	}
	if why := s.violation(levels.Enforce, p); why != "" {
		return nil, apierrors.NewForbidden(corev1.Resource("pods"), p.Name, fmt.Errorf("violates PodSecurity %q: %s", levels.Enforce.String(), why))
	}
	if len(errs) > 0 { // labels of a file: they count as the strictest level
		return nil, apierrors.NewForbidden(corev1.Resource("pods"), p.Name, errs.ToAggregate())
	}
	if why := s.violation(levels.Warn, p); why != "" {
		return []string{fmt.Sprintf("would violate PodSecurity %q: %s", levels.Warn.String(), why)}, nil
	}
	return nil, nil
}

// significant tells whether a change may matter for the level: containers that are
// new or have another image.
func significant(p, old *corev1.Pod) bool {
	images := func(p *corev1.Pod) []string {
		var out []string
		for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
			for i := range list {
				out = append(out, list[i].Name+" "+list[i].Image)
			}
		}
		for i := range p.Spec.EphemeralContainers {
			c := &p.Spec.EphemeralContainers[i]
			out = append(out, "debug "+c.Name+" "+c.Image)
		}
		return out
	}
	return !slices.Equal(images(p), images(old))
}

// admitNamespace refuses labels that are no levels, and warns of Pods that violate
// a new one: they go on running.
func (s *Server) admitNamespace(_ *http.Request, o, old store.Object) ([]string, error) {
	n := o.(*corev1.Namespace)
	levels, errs := security.PolicyToEvaluate(n.Labels, privileged())
	if old == nil {
		if len(errs) > 0 {
			return nil, apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("Namespace").GroupKind(), n.Name, errs)
		}
		return nil, nil
	}
	before, earlier := security.PolicyToEvaluate(old.GetLabels(), privileged())
	if len(errs) > 0 {
		if len(earlier) > 0 { // it can be ended with them
			return nil, nil
		}
		return nil, apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("Namespace").GroupKind(), n.Name, errs)
	}
	if levels.Enforce.Level == security.LevelPrivileged || levels.Enforce.Equivalent(&before.Enforce) {
		return nil, nil
	}
	return s.violations(n.Name, levels.Enforce)
}

// errEnough ends a listing.
var errEnough = errors.New("enough")

func (s *Server) violations(namespace string, level security.LevelVersion) ([]string, error) {
	var out []string
	_, err := s.cfg.Store.List("pods", namespace, func(data store.Data) error {
		p := new(corev1.Pod)
		if err := data.Into(p); err != nil {
			return err
		}
		if why := s.violation(level, p); why != "" {
			out = append(out, p.Name+": "+why)
		}
		if len(out) > securityWarnings {
			out[securityWarnings] = "and others"
			return errEnough
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) || out == nil {
		return nil, err
	}
	return append([]string{fmt.Sprintf("existing pods in namespace %q violate the new PodSecurity enforce level %q", namespace, level.String())}, out...), nil
}
