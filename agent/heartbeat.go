// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/utils/ptr"

	"github.com/minikubelet/minikubelet/store"
)

const (
	// beatEvery is how often the node's conditions and its Lease are renewed. The
	// kubelet writes a quiet node's status as seldom, and its Lease every ten seconds,
	// for a controller that evicts the Pods of nodes that are silent. There is none
	// here, and each write is one more wait for an edge node's flash.
	beatEvery = 5 * time.Minute
	// leaseFor is the Lease's duration: the kubelet's ratio of four renewals.
	leaseFor = 4 * beatEvery
	// quiet is how long no image must have come, and the address not have changed, before
	// the node's status is renewed.
	quiet = time.Second

	leases = "leases"
)

// beat renews the node's conditions and its Lease until ctx ends, and the node's
// status when images or the address have changed.
func (a *Agent) beat(ctx context.Context) {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	later := time.NewTimer(beatEvery)
	later.Stop()
	defer later.Stop()
	a.renew()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			a.renew()
		case <-a.nodeChanged:
			later.Reset(quiet)
		case <-later.C:
			if err := a.putNode(); err != nil {
				a.log.Warn("cannot store the node's status", "err", err)
			}
		}
	}
}

// renew writes both objects at the same time, so that they share a wait for the
// disk.
func (a *Agent) renew() {
	var both sync.WaitGroup
	both.Go(func() {
		if err := a.renewNode(); err != nil {
			a.log.Warn("cannot store the node's status", "err", err)
		}
	})
	both.Go(func() {
		if err := a.renewLease(); err != nil {
			a.log.Warn("cannot renew the node's Lease", "err", err)
		}
	})
	both.Wait()
}

// renewLease writes the time into the node's Lease, making it if need be.
func (a *Agent) renewLease() error {
	for {
		var lease coordinationv1.Lease
		err := a.store.Get(leases, corev1.NamespaceNodeLease, a.cfg.NodeName, &lease)
		missing := apierrors.IsNotFound(err)
		if err != nil && !missing {
			return err
		}
		now := metav1.NowMicro()
		lease.Spec.HolderIdentity, lease.Spec.LeaseDurationSeconds = ptr.To(a.cfg.NodeName), ptr.To(int32(leaseFor/time.Second))
		lease.Spec.RenewTime = &now
		if missing {
			lease.TypeMeta = metav1.TypeMeta{APIVersion: "coordination.k8s.io/v1", Kind: "Lease"}
			lease.ObjectMeta = metav1.ObjectMeta{
				Namespace: corev1.NamespaceNodeLease, Name: a.cfg.NodeName, UID: uuid.NewUUID(), CreationTimestamp: metav1.Now(),
			}
			var node corev1.Node
			if err := a.store.Get(nodes, "", a.cfg.NodeName, &node); err == nil {
				lease.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID}}
			}
			err = a.store.Create(leases, &lease)
		} else {
			err = a.store.Update(leases, &lease)
		}
		if !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) { // with a write over the API
			return err
		}
	}
}

// tellOfNode makes the events of a change of the node's status, in the kubelet's
// words. before is zero for a new node.
func (a *Agent) tellOfNode(before, after *corev1.NodeStatus) {
	m := a.manager.Load()
	if old := before.NodeInfo.BootID; old != "" && old != after.NodeInfo.BootID {
		m.NodeEvent(corev1.EventTypeWarning, "Rebooted", fmt.Sprintf("Node %s has been rebooted, boot id: %s", a.cfg.NodeName, after.NodeInfo.BootID))
	}
	was, is := readiness(before), readiness(after)
	if was != is {
		reason := "NodeNotReady"
		if is == corev1.ConditionTrue {
			reason = "NodeReady"
		}
		m.NodeEvent(corev1.EventTypeNormal, reason, fmt.Sprintf("Node %s status is now: %s", a.cfg.NodeName, reason))
	}
}

// followNode tells, as the kubelet does, when the node is cordoned and when no longer,
// until ctx ends.
func (a *Agent) followNode(ctx context.Context) {
	w := a.store.Watch(nodes, a.store.Revision())
	defer func() { w.Close() }()
	for {
		e, err := w.Next(ctx)
		if errors.Is(err, store.ErrTooOld) { // what was missed is not told
			w.Close()
			w = a.store.Watch(nodes, a.store.Revision())
			continue
		}
		if err != nil {
			return
		}
		before, ok := e.Previous.(*corev1.Node)
		after := e.Object.(*corev1.Node)
		if e.Type != store.Modified || !ok || after.Name != a.cfg.NodeName || before.Spec.Unschedulable == after.Spec.Unschedulable {
			continue
		}
		reason := "NodeSchedulable"
		if after.Spec.Unschedulable {
			reason = "NodeNotSchedulable"
		}
		a.manager.Load().NodeEvent(corev1.EventTypeNormal, reason, fmt.Sprintf("Node %s status is now: %s", a.cfg.NodeName, reason))
	}
}

func readiness(s *corev1.NodeStatus) corev1.ConditionStatus {
	for _, c := range s.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status
		}
	}
	return ""
}
