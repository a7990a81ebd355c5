// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/minikubelet/minikubelet/store"
)

// object does what is to be done with one object: the rules are those of
// Kubernetes' garbage collector.
func (c *collector) object(me id) error {
	o := me.kind.object()
	if err := c.s.cfg.Store.Get(me.kind.name, me.namespace, me.name, o); err != nil {
		return err
	}
	if o.GetDeletionTimestamp() != nil {
		switch {
		case slices.Contains(o.GetFinalizers(), metav1.FinalizerOrphanDependents):
			return c.orphan(me, o)
		case slices.Contains(o.GetFinalizers(), metav1.FinalizerDeleteDependents):
			return c.foreground(me, o)
		}
		return nil
	}
	solid, dangling, waiting, err := c.classify(o)
	switch {
	case err != nil:
		return err
	case len(solid) > 0:
		return c.disown(me, o, append(dangling, waiting...))
	case len(dangling)+len(waiting) == 0:
		return nil
	}
	policy := metav1.DeletePropagationBackground
	switch {
	case len(waiting) > 0 && len(c.dependents[o.GetUID()]) > 0, slices.Contains(o.GetFinalizers(), metav1.FinalizerDeleteDependents):
		policy = metav1.DeletePropagationForeground
	case slices.Contains(o.GetFinalizers(), metav1.FinalizerOrphanDependents):
		policy = metav1.DeletePropagationOrphan
	}
	c.s.cfg.Log.Info("removing an object: its owners are gone", "kind", me.kind.kind, "object", me.namespace+"/"+me.name)
	_, _, err = c.s.end(me.kind, me.namespace, me.name, &metav1.DeleteOptions{
		PropagationPolicy: &policy, Preconditions: &metav1.Preconditions{UID: ptr.To(o.GetUID()), ResourceVersion: ptr.To(o.GetResourceVersion())},
	})
	return err
}

// classify sorts an object's owners: those that are there, or of kinds that are
// not served here; those that are gone; those that wait for their dependents to go
// before them.
func (c *collector) classify(o store.Object) (solid, dangling, waiting []types.UID, err error) {
	for _, r := range o.GetOwnerReferences() {
		of, known := c.find(r, o.GetNamespace())
		if !known {
			solid = append(solid, r.UID)
			continue
		}
		owner := of.kind.object()
		err := c.s.cfg.Store.Get(of.kind.name, of.namespace, of.name, owner)
		switch {
		case apierrors.IsNotFound(err) || err == nil && owner.GetUID() != r.UID:
			dangling = append(dangling, r.UID)
		case err != nil:
			return nil, nil, nil, err
		case owner.GetDeletionTimestamp() != nil && slices.Contains(owner.GetFinalizers(), metav1.FinalizerDeleteDependents):
			waiting = append(waiting, r.UID)
		default:
			solid = append(solid, r.UID)
		}
	}
	return solid, dangling, waiting, nil
}

// disown takes owners off an object.
func (c *collector) disown(me id, o store.Object, owners []types.UID) error {
	left := slices.DeleteFunc(slices.Clone(o.GetOwnerReferences()), func(r metav1.OwnerReference) bool { return slices.Contains(owners, r.UID) })
	if len(left) == len(o.GetOwnerReferences()) {
		return nil
	}
	o.SetOwnerReferences(left)
	return c.s.cfg.Store.Update(me.kind.name, o)
}

// orphan lets the dependents stay without their owner, which then goes.
func (c *collector) orphan(me id, o store.Object) error {
	for dependent := range c.dependents[o.GetUID()] {
		d := dependent.kind.object()
		err := c.s.cfg.Store.Get(dependent.kind.name, dependent.namespace, dependent.name, d)
		if err == nil {
			err = c.disown(dependent, d, []types.UID{o.GetUID()})
		}
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return c.release(me, o, metav1.FinalizerOrphanDependents)
}

// foreground removes the dependents of an object that goes after them: it waits
// for those that block it.
func (c *collector) foreground(me id, o store.Object) error {
	blocked := false
	for dependent := range c.dependents[o.GetUID()] {
		for _, r := range c.owners[dependent] {
			blocked = blocked || r.UID == o.GetUID() && ptr.Deref(r.BlockOwnerDeletion, false)
		}
		c.objects[dependent] = true
	}
	if blocked {
		return nil
	}
	return c.release(me, o, metav1.FinalizerDeleteDependents)
}

// release takes a finalizer off; the object goes with its last one.
func (c *collector) release(me id, o store.Object, finalizer string) error {
	o.SetFinalizers(slices.DeleteFunc(slices.Clone(o.GetFinalizers()), func(f string) bool { return f == finalizer }))
	if finished(o) {
		return c.s.cfg.Store.Delete(me.kind.name, o)
	}
	return c.s.cfg.Store.Update(me.kind.name, o)
}
