// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/minikubelet/minikubelet/apiserver/quota"
	"github.com/minikubelet/minikubelet/store"
)

// What is used of a quota is counted from the objects that there are, at each
// creation: its status is for readers alone, and follows. The lock is held from the
// count until the object is stored, in namespaces with quotas that it counts for.

// charge is why an object does not fit the quotas of its namespace; old is what it
// replaces, nil for a new one. When it fits, it has to be written before settled is
// called.
func (s *Server) charge(k *kind, o, old store.Object, sub string) (settled func(), err error) {
	settled = func() {}
	if !k.charged(o, old, sub) {
		return settled, nil
	}
	if quotas, err := s.quotasOf(o.GetNamespace(), k, o); err != nil || len(quotas) == 0 {
		return settled, err
	}
	s.quotas.Lock()
	defer func() {
		if err != nil {
			s.quotas.Unlock()
		}
	}()
	quotas, err := s.quotasOf(o.GetNamespace(), k, o) // again: they may have changed
	if err != nil {
		return settled, err
	}
	counts, err := s.countUsed(o.GetNamespace(), quotas)
	if err != nil {
		return settled, err
	}
	for _, c := range counts {
		if err := c.Check(k.groupResource(), o, old); err != nil {
			return settled, apierrors.NewForbidden(k.groupResource(), o.GetName(), err)
		}
	}
	return s.quotas.Unlock, nil
}

// counted tells whether objects of the kind count for quotas.
func (k *kind) counted() bool { return k.namespaced && k.stores() && k.name != "events" }

// charged tells whether a write may use more of a quota.
func (k *kind) charged(o, old store.Object, sub string) bool {
	switch {
	case !k.counted():
		return false
	case old == nil:
		return true
	}
	switch o := o.(type) {
	case *corev1.Pod:
		return sub == "resize" || sub == "" && quota.Terminating(o) != quota.Terminating(old.(*corev1.Pod))
	case *corev1.Service, *corev1.PersistentVolumeClaim:
		return sub == ""
	}
	return false
}

// quotasOf are the quotas of a namespace for which an object counts; all of them
// when it is nil.
func (s *Server) quotasOf(namespace string, k *kind, o store.Object) ([]*corev1.ResourceQuota, error) {
	var out []*corev1.ResourceQuota
	err := each(s.cfg.Store, resourceQuotas, namespace, func(q *corev1.ResourceQuota) error {
		if o == nil || quota.Matches(q, k.groupResource(), o) {
			out = append(out, q)
		}
		return nil
	})
	return out, err
}

const resourceQuotas = "resourcequotas"

// countUsed counts what a namespace has of each quota.
func (s *Server) countUsed(namespace string, quotas []*corev1.ResourceQuota) ([]*quota.Count, error) {
	counts := make([]*quota.Count, len(quotas))
	now := time.Now()
	for i, q := range quotas {
		counts[i] = quota.NewCount(q, now)
	}
	for _, k := range s.kinds {
		needed := false
		for _, c := range counts {
			needed = needed || k.counted() && c.Needs(k.groupResource())
		}
		if !needed {
			continue
		}
		_, err := s.cfg.Store.List(k.name, namespace, func(data store.Data) error {
			o, err := k.decode(data)
			if err != nil {
				return err
			}
			for _, c := range counts {
				c.Add(k.groupResource(), o)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return counts, nil
}

// KeepQuotas keeps the status of all ResourceQuotas, until ctx ends.
func (s *Server) KeepQuotas(ctx context.Context) error {
	byResource := make(map[string]*kind)
	for _, k := range s.kinds {
		if k.counted() {
			byResource[k.name] = k
		}
	}
	stale := make(map[string]bool) // namespaces
	return s.cfg.Store.Follow(ctx, store.All, store.Follower{
		All: func() error {
			return each(s.cfg.Store, resourceQuotas, "", func(q *corev1.ResourceQuota) error { stale[q.Namespace] = true; return nil })
		},
		See: func(e store.Event) bool {
			if usesOther(byResource[e.Resource], &e) {
				stale[e.Object.GetNamespace()] = true
			}
			return len(stale) > 0
		},
		Work:  func() bool { return s.putUsed(stale) },
		Retry: tryAgain,
	})
}

// usesOther tells whether a change may be one of what is used.
func usesOther(k *kind, e *store.Event) bool {
	if k == nil || e.Type != store.Modified || k.name == resourceQuotas {
		return k != nil
	}
	now, gr := time.Now(), k.groupResource()
	p, ok := e.Object.(*corev1.Pod)
	return !apiequality.Semantic.DeepEqual(quota.Usage(gr, e.Object, now), quota.Usage(gr, e.Previous, now)) ||
		ok && quota.Terminating(p) != quota.Terminating(e.Previous.(*corev1.Pod))
}

// putUsed brings the quotas of namespaces up to date and takes these off the list;
// false when something has to be tried again.
func (s *Server) putUsed(stale map[string]bool) bool {
	ok := true
	for namespace := range stale {
		err := s.putUsedOf(namespace)
		if err == nil || apierrors.IsNotFound(err) {
			delete(stale, namespace)
			continue
		}
		ok = false
		if !apierrors.IsConflict(err) {
			s.cfg.Log.Warn("cannot count what is used of quotas; it is tried again", "namespace", namespace, "err", err)
		}
	}
	return ok
}

func (s *Server) putUsedOf(namespace string) error {
	quotas, err := s.quotasOf(namespace, nil, nil)
	if err != nil || len(quotas) == 0 {
		return err
	}
	counts, err := s.countUsed(namespace, quotas)
	if err != nil {
		return err
	}
	for i, q := range quotas {
		status := corev1.ResourceQuotaStatus{Hard: q.Spec.Hard, Used: counts[i].Used()}
		if apiequality.Semantic.DeepEqual(q.Status, status) {
			continue
		}
		q.Status = status
		if err := s.cfg.Store.Update(resourceQuotas, q); err != nil {
			return err
		}
	}
	return nil
}
