// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/component-helpers/auth/rbac/validation"
	rules "k8s.io/kubernetes/pkg/apis/rbac/v1"
)

// Subject is who wants something.
type Subject struct {
	Name   string
	Groups []string
}

// Request is what somebody wants: a verb on a resource, or, when there is no
// resource, on a path.
type Request struct {
	Verb, Group, Resource, Subresource, Namespace, Name string
	Path                                                string
}

// Allows tells whether something grants the request, and what; or which errors
// kept something from being asked.
func (p *Policy) Allows(who Subject, want Request) (allowed bool, reason string) {
	var errs []error
	err := p.visit(who, want.Namespace, func(source string, rule *rbacv1.PolicyRule, err error) bool {
		if err != nil {
			errs = append(errs, err)
			return true
		}
		allowed = allows(rule, want)
		if allowed {
			reason = "RBAC: allowed by " + source
		}
		return !allowed
	})
	if allowed {
		return true, reason
	}
	if err != nil {
		errs = append(errs, err)
	}
	return false, because(errs)
}

// because is the reason for a denial, in Kubernetes' form; mostly there is none
// but that nothing grants it.
func because(errs []error) string {
	switch len(errs) {
	case 0:
		return ""
	case 1:
		return "RBAC: " + errs[0].Error()
	}
	var texts []string
	for _, err := range errs {
		texts = append(texts, err.Error())
	}
	slices.Sort(texts)
	return "RBAC: [" + strings.Join(slices.Compact(texts), ", ") + "]"
}

// Rules are all that somebody has been granted in a namespace, or, with none,
// everywhere.
func (p *Policy) Rules(who Subject, namespace string) ([]rbacv1.PolicyRule, error) {
	var out []rbacv1.PolicyRule
	var errs []error
	errs = append(errs, p.visit(who, namespace, func(_ string, rule *rbacv1.PolicyRule, err error) bool {
		if rule != nil {
			out = append(out, *rule.DeepCopy())
		}
		errs = append(errs, err)
		return true
	}))
	return out, errors.Join(errs...)
}

// Covers is nil when somebody has every right of the rules, in a namespace or
// everywhere; the error says which are missing.
func (p *Policy) Covers(who Subject, namespace string, wanted []rbacv1.PolicyRule) error {
	have, err := p.Rules(who, namespace)
	ok, missing := validation.Covers(have, wanted)
	if ok {
		return nil
	}
	var texts []string
	for _, rule := range missing {
		texts = append(texts, rules.CompactString(rule))
	}
	slices.Sort(texts)
	text := fmt.Sprintf("user %q (groups=%q) is attempting to grant RBAC permissions not currently held:\n%s",
		who.Name, who.Groups, strings.Join(slices.Compact(texts), "\n"))
	if err != nil {
		text += fmt.Sprintf("; resolution errors: %v", err)
	}
	return errors.New(text)
}

// visit calls see with every rule that applies to somebody, or with the error that
// a binding's role is not there, until it returns false.
func (p *Policy) visit(who Subject, namespace string, see func(source string, rule *rbacv1.PolicyRule, err error) bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.refresh(); err != nil {
		return err
	}
	for _, b := range p.clusterBinds {
		if i := applies(b.Subjects, who, ""); i >= 0 {
			source := fmt.Sprintf("ClusterRoleBinding %q of %s %q to %s", b.Name, b.RoleRef.Kind, b.RoleRef.Name, describe(&b.Subjects[i], ""))
			if !p.seeRules(b.RoleRef, "", source, see) {
				return nil
			}
		}
	}
	if namespace == "" {
		return nil
	}
	for _, b := range p.bindings[namespace] {
		if i := applies(b.Subjects, who, namespace); i >= 0 {
			source := fmt.Sprintf("RoleBinding %q of %s %q to %s", b.Name+"/"+b.Namespace, b.RoleRef.Kind, b.RoleRef.Name, describe(&b.Subjects[i], b.Namespace))
			if !p.seeRules(b.RoleRef, namespace, source, see) {
				return nil
			}
		}
	}
	return nil
}

func (p *Policy) seeRules(ref rbacv1.RoleRef, namespace, source string, see func(string, *rbacv1.PolicyRule, error) bool) bool {
	list, err := p.rulesOf(ref, namespace)
	if err != nil {
		return see(source, nil, err)
	}
	for i := range list {
		if !see(source, &list[i], nil) {
			return false
		}
	}
	return true
}

// applies is which of the subjects is meant; -1 for none.
func applies(subjects []rbacv1.Subject, who Subject, namespace string) int {
	return slices.IndexFunc(subjects, func(s rbacv1.Subject) bool {
		switch s.Kind {
		case rbacv1.UserKind:
			return s.Name == who.Name
		case rbacv1.GroupKind:
			return slices.Contains(who.Groups, s.Name)
		case rbacv1.ServiceAccountKind:
			in := s.Namespace
			if in == "" { // one of the binding's own namespace
				in = namespace
			}
			return in != "" && who.Name == "system:serviceaccount:"+in+":"+s.Name
		}
		return false
	})
}

func describe(s *rbacv1.Subject, namespace string) string {
	if s.Kind != rbacv1.ServiceAccountKind {
		return fmt.Sprintf("%s %q", s.Kind, s.Name)
	}
	if s.Namespace != "" {
		namespace = s.Namespace
	}
	return fmt.Sprintf("%s %q", s.Kind, s.Name+"/"+namespace)
}

// allows tells whether a rule grants the request.
func allows(rule *rbacv1.PolicyRule, want Request) bool {
	if !rules.VerbMatches(rule, want.Verb) {
		return false
	}
	if want.Resource == "" {
		return rules.NonResourceURLMatches(rule, want.Path)
	}
	resource := want.Resource
	if want.Subresource != "" {
		resource += "/" + want.Subresource
	}
	return rules.APIGroupMatches(rule, want.Group) && rules.ResourceMatches(rule, resource, want.Subresource) &&
		rules.ResourceNameMatches(rule, want.Name)
}
