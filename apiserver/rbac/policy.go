// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/minikubelet/minikubelet/store"
)

// The store's names of the resources.
const (
	Roles               = "roles"
	RoleBindings        = "rolebindings"
	ClusterRoles        = "clusterroles"
	ClusterRoleBindings = "clusterrolebindings"
)

// Policy is what the store's RBAC objects grant. It is safe for concurrent use.
type Policy struct {
	store *store.Store

	mu           sync.Mutex
	seen         uint64 // the revision up to which the maps are
	watchers     map[string]*store.Watcher
	roles        map[string]*rbacv1.Role // by "namespace/name"
	clusterRoles map[string]*rbacv1.ClusterRole
	bindings     map[string]map[string]*rbacv1.RoleBinding // by namespace and name
	clusterBinds map[string]*rbacv1.ClusterRoleBinding
}

// New is a policy by a store's objects, which it reads when it is asked first.
func New(s *store.Store) *Policy { return &Policy{store: s} }

// Close ends the policy's watches.
func (p *Policy) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.watchers {
		w.Close()
	}
	p.watchers = nil
}

// refresh brings the maps up to what the store has; p.mu is held.
func (p *Policy) refresh() error {
	now := p.store.Revision()
	if p.watchers != nil && p.seen == now {
		return nil
	}
	if p.watchers == nil {
		return p.load()
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // what has not happened yet is not waited for
	for _, w := range p.watchers {
		for {
			e, err := w.Next(ctx)
			if errors.Is(err, context.Canceled) {
				break
			}
			if errors.Is(err, store.ErrTooOld) {
				return p.load()
			}
			if err != nil {
				return err
			}
			p.put(e)
		}
	}
	p.seen = now
	return nil
}

// load reads everything anew.
func (p *Policy) load() error {
	for _, w := range p.watchers {
		w.Close()
	}
	p.watchers = nil
	p.roles, p.clusterRoles = make(map[string]*rbacv1.Role), make(map[string]*rbacv1.ClusterRole)
	p.bindings, p.clusterBinds = make(map[string]map[string]*rbacv1.RoleBinding), make(map[string]*rbacv1.ClusterRoleBinding)
	watchers := make(map[string]*store.Watcher)
	first := uint64(0)
	for resource, object := range map[string]func() store.Object{
		Roles:               func() store.Object { return new(rbacv1.Role) },
		RoleBindings:        func() store.Object { return new(rbacv1.RoleBinding) },
		ClusterRoles:        func() store.Object { return new(rbacv1.ClusterRole) },
		ClusterRoleBindings: func() store.Object { return new(rbacv1.ClusterRoleBinding) },
	} {
		revision, err := p.store.List(resource, "", func(data store.Data) error {
			o := object()
			if err := data.Into(o); err != nil {
				return err
			}
			p.put(store.Event{Type: store.Added, Object: o})
			return nil
		})
		if err != nil {
			for _, w := range watchers {
				w.Close()
			}
			return fmt.Errorf("read %s: %w", resource, err)
		}
		watchers[resource] = p.store.Watch(resource, revision)
		if first == 0 || revision < first {
			first = revision
		}
	}
	p.watchers, p.seen = watchers, first
	return nil
}

// put takes up a change.
func (p *Policy) put(e store.Event) {
	gone := e.Type == store.Deleted
	switch o := e.Object.(type) {
	case *rbacv1.Role:
		set(p.roles, o.Namespace+"/"+o.Name, o, gone)
	case *rbacv1.ClusterRole:
		set(p.clusterRoles, o.Name, o, gone)
	case *rbacv1.ClusterRoleBinding:
		set(p.clusterBinds, o.Name, o, gone)
	case *rbacv1.RoleBinding:
		if p.bindings[o.Namespace] == nil {
			p.bindings[o.Namespace] = make(map[string]*rbacv1.RoleBinding)
		}
		set(p.bindings[o.Namespace], o.Name, o, gone)
		if len(p.bindings[o.Namespace]) == 0 {
			delete(p.bindings, o.Namespace)
		}
	}
}

func set[T any](m map[string]T, key string, o T, gone bool) {
	if gone {
		delete(m, key)
	} else {
		m[key] = o
	}
}

// RulesOf are the rules of the role that a binding in the namespace, or in none,
// names. A role that is not there is an error that names it.
func (p *Policy) RulesOf(ref rbacv1.RoleRef, namespace string) ([]rbacv1.PolicyRule, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.refresh(); err != nil {
		return nil, err
	}
	return p.rulesOf(ref, namespace)
}

func (p *Policy) rulesOf(ref rbacv1.RoleRef, namespace string) ([]rbacv1.PolicyRule, error) {
	switch ref.Kind {
	case "Role":
		if role := p.roles[namespace+"/"+ref.Name]; role != nil {
			return role.Rules, nil
		}
	case "ClusterRole":
		if role := p.clusterRoles[ref.Name]; role != nil {
			return role.Rules, nil
		}
	default:
		return nil, fmt.Errorf("unsupported role reference kind: %q", ref.Kind)
	}
	return nil, fmt.Errorf("%s.rbac.authorization.k8s.io %q not found", strings.ToLower(ref.Kind), ref.Name)
}
