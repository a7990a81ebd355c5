// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/component-helpers/auth/rbac/validation"

	"github.com/minikubelet/minikubelet/store"
)

// Bootstrap makes the built-in roles and bindings that are not there, and gives
// back what was taken away from those that are, as kube-apiserver does at its
// start: who wants one changed for good sets the annotation
// rbac.authorization.kubernetes.io/autoupdate to false.
func Bootstrap(s *store.Store) error {
	var errs []error
	for _, want := range builtinRoles() {
		have := new(rbacv1.ClusterRole)
		errs = append(errs, reconcile(s, ClusterRoles, want, have, func() {
			if ok, missing := validation.Covers(have.Rules, want.Rules); !ok && want.AggregationRule == nil {
				have.Rules = append(have.Rules, missing...)
			}
			if have.AggregationRule == nil {
				have.AggregationRule = want.AggregationRule
			}
		}))
	}
	for _, want := range builtinBindings() {
		have := new(rbacv1.ClusterRoleBinding)
		errs = append(errs, reconcile(s, ClusterRoleBindings, want, have, func() {
			for _, subject := range want.Subjects {
				if !slices.Contains(have.Subjects, subject) {
					have.Subjects = append(have.Subjects, subject)
				}
			}
		}))
	}
	return errors.Join(append(errs, aggregate(s))...)
}

// reconcile creates an object or lets amend change the one that is there. Nothing
// is written when nothing has changed.
func reconcile(s *store.Store, resource string, want, have store.Object, amend func()) error {
	err := s.Get(resource, "", want.GetName(), have)
	if apierrors.IsNotFound(err) {
		want.SetUID(uuid.NewUUID())
		want.SetCreationTimestamp(metav1.Now().Rfc3339Copy())
		return s.Create(resource, want)
	}
	if err != nil || have.GetAnnotations()[rbacv1.AutoUpdateAnnotationKey] == "false" {
		return err
	}
	old := have.DeepCopyObject()
	have.SetLabels(with(have.GetLabels(), want.GetLabels()))
	amend()
	if equality.Semantic.DeepEqual(old, have) {
		return nil
	}
	return s.Update(resource, have)
}

func with(have, more map[string]string) map[string]string {
	if have == nil {
		have = make(map[string]string)
	}
	for k, v := range more {
		have[k] = v
	}
	return have
}

// Aggregate keeps the rules of aggregated ClusterRoles the sum of those that their
// labels select, until ctx ends.
func Aggregate(ctx context.Context, s *store.Store, log *slog.Logger) error {
	return s.Follow(ctx, ClusterRoles, store.Follower{
		See: func(store.Event) bool { return true },
		Work: func() bool {
			if err := aggregate(s); err != nil {
				log.Warn("the rules of aggregated ClusterRoles are not what they should be", "err", err)
			}
			return true
		},
	})
}

// aggregate writes what has changed, from the parts to the sums of sums. A role that
// cannot be read, summed up or written keeps no other from it.
func aggregate(s *store.Store) error {
	for {
		var all []*rbacv1.ClusterRole
		var errs []error
		if _, err := s.List(ClusterRoles, "", func(data store.Data) error {
			r := new(rbacv1.ClusterRole)
			if err := data.Into(r); err != nil {
				errs = append(errs, fmt.Errorf("a ClusterRole: %w", err))
			} else {
				all = append(all, r)
			}
			return nil
		}); err != nil {
			return err
		}
		written := false
		for _, r := range all {
			if r.AggregationRule == nil {
				continue
			}
			sum, err := sumOf(r, all)
			if err == nil && same(sum, r.Rules) {
				continue
			}
			if err == nil {
				r.Rules = sum
				err = s.Update(ClusterRoles, r)
			}
			switch {
			case err == nil:
				written = true
			case !apierrors.IsConflict(err): // else its event is on its way
				errs = append(errs, fmt.Errorf("ClusterRole %s: %w", r.Name, err))
			}
		}
		if !written {
			return errors.Join(errs...)
		}
	}
}

// sumOf has each rule once, in the order of the roles' names.
func sumOf(r *rbacv1.ClusterRole, all []*rbacv1.ClusterRole) ([]rbacv1.PolicyRule, error) {
	parts := make(map[string]*rbacv1.ClusterRole)
	for i := range r.AggregationRule.ClusterRoleSelectors {
		selector, err := metav1.LabelSelectorAsSelector(&r.AggregationRule.ClusterRoleSelectors[i])
		if err != nil {
			return nil, err
		}
		for _, other := range all {
			if other.Name != r.Name && selector.Matches(labels.Set(other.Labels)) {
				parts[other.Name] = other
			}
		}
	}
	var names []string
	for name := range parts {
		names = append(names, name)
	}
	slices.SortFunc(names, strings.Compare)
	var sum []rbacv1.PolicyRule
	for _, name := range names {
		for _, rule := range parts[name].Rules {
			if !contains(sum, rule) {
				sum = append(sum, rule)
			}
		}
	}
	return sum, nil
}

// same leaves out the order, which in roles that aggregate each other might never
// come to rest.
func same(a, b []rbacv1.PolicyRule) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(rule rbacv1.PolicyRule) bool { return !contains(b, rule) })
}

func contains(list []rbacv1.PolicyRule, rule rbacv1.PolicyRule) bool {
	return slices.ContainsFunc(list, func(have rbacv1.PolicyRule) bool { return equality.Semantic.DeepEqual(have, rule) })
}
