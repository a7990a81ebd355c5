// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	resourcehelper "k8s.io/component-helpers/resource"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/apis/core/v1/helper/qos"

	"github.com/minikubelet/minikubelet/store"
)

// There is one node, so that scheduling is the question whether it takes a Pod: not
// while it is cordoned, nor with a taint that the Pod does not tolerate, nor when it
// is not of the nodes that the Pod selects, nor when the Pod asks for more than the whole
// node has; what other Pods leave is the question of the node's own admission. A Pod with scheduling gates waits until
// they are lifted. One that names the node itself is not asked, nor is one from a
// manifest.

// why the node does not take a new Pod, in the scheduler's words; "" when it does.
func (s *Server) whyNot(p *corev1.Pod) (string, error) {
	var n corev1.Node
	err := s.cfg.Store.Get("nodes", "", s.cfg.NodeName, &n)
	if apierrors.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	reason := ""
	tolerated := func(t *corev1.Taint) bool {
		// As documented, though kube-apiserver has it in a plugin that is off by default.
		if t.Key == corev1.TaintNodeMemoryPressure && t.Effect == corev1.TaintEffectNoSchedule && qos.ComputePodQOS(p) != corev1.PodQOSBestEffort {
			return true
		}
		return slices.ContainsFunc(p.Spec.Tolerations, func(by corev1.Toleration) bool { return by.ToleratesTaint(klog.Background(), t, false) })
	}
	switch {
	case n.Spec.Unschedulable && !tolerated(&corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}):
		reason = "node(s) were unschedulable"
	case slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Effect != corev1.TaintEffectPreferNoSchedule && !tolerated(&t) }):
		reason = "node(s) had untolerated taint(s)"
	default:
		fits, err := nodeaffinity.GetRequiredNodeAffinity(p).Match(&n)
		if err != nil {
			return "", err
		}
		if !fits {
			reason = "node(s) didn't match Pod's node affinity/selector"
			break
		}
		short := tooMuch(p, n.Status.Allocatable)
		if len(short) == 0 {
			return "", nil
		}
		reason = strings.Join(short, ", 1 ")
	}
	return "0/1 nodes are available: 1 " + reason + ". preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.", nil
}

// tooMuch is of what a Pod asks for more than the node has, in the scheduler's words.
func tooMuch(p *corev1.Pod, allocatable corev1.ResourceList) []string {
	var short []string
	for name, wanted := range resourcehelper.PodRequests(p, resourcehelper.PodResourcesOptions{}) {
		if has, ok := allocatable[name]; ok && wanted.Cmp(has) > 0 {
			short = append(short, "Insufficient "+string(name))
		}
	}
	slices.Sort(short)
	return short
}

// place gives a new Pod its node, or says in its status why not.
func (s *Server) place(p *corev1.Pod) error {
	if p.Spec.NodeName != "" {
		return nil
	}
	if len(p.Spec.SchedulingGates) > 0 {
		waits(p, corev1.PodReasonSchedulingGated, "Scheduling is blocked due to non-empty scheduling gates")
		return nil
	}
	why, err := s.whyNot(p)
	if err != nil {
		return err
	}
	if why == "" {
		p.Spec.NodeName = s.cfg.NodeName
		p.Status.Conditions = slices.DeleteFunc(p.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodScheduled })
		return nil
	}
	waits(p, corev1.PodReasonUnschedulable, why)
	return nil
}

// waits says in a Pod's status why it has no node.
func waits(p *corev1.Pod, reason, message string) {
	c := corev1.PodCondition{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: reason, Message: message,
		LastTransitionTime: metav1.Now().Rfc3339Copy(), ObservedGeneration: p.Generation,
	}
	if i := slices.IndexFunc(p.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodScheduled }); i >= 0 {
		c.LastTransitionTime = p.Status.Conditions[i].LastTransitionTime
		p.Status.Conditions[i] = c
	} else {
		p.Status.Conditions = append(p.Status.Conditions, c)
	}
}

// Schedule gives waiting Pods their node when it takes them, until ctx ends.
func (s *Server) Schedule(ctx context.Context) error {
	told := make(map[string]string) // what a waiting Pod was last told, by UID
	placed := false
	return s.cfg.Store.Follow(ctx, store.All, store.Follower{
		See: func(e store.Event) bool {
			if !placed || e.Resource == "nodes" {
				return true
			}
			p, ok := e.Object.(*corev1.Pod)
			return ok && p.Spec.NodeName == "" && (e.Type == store.Added || lifted(p, e.Previous))
		},
		Work: func() bool {
			placed = s.placeAll(told)
			return placed
		},
		Retry: tryAgain,
	})
}

// lifted tells whether a Pod had scheduling gates and has none any more.
func lifted(p *corev1.Pod, before store.Object) bool {
	old, ok := before.(*corev1.Pod)
	return ok && len(old.Spec.SchedulingGates) > 0 && len(p.Spec.SchedulingGates) == 0
}

// placeAll places what waits; false when that has to be tried again.
func (s *Server) placeAll(told map[string]string) bool {
	ok := true
	waiting := make(map[string]bool)
	err := each(s.cfg.Store, "pods", "", func(p *corev1.Pod) error {
		if p.Spec.NodeName != "" || p.DeletionTimestamp != nil || len(p.Spec.SchedulingGates) > 0 {
			return nil
		}
		uid, before := string(p.UID), p.DeepCopy()
		waiting[uid] = true
		if err := s.place(p); err != nil {
			return err
		}
		c := slices.IndexFunc(p.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodScheduled })
		if c >= 0 && told[uid] == p.Status.Conditions[c].Message {
			return nil
		}
		if err := s.cfg.Store.Update("pods", p); err != nil {
			ok = ok && (apierrors.IsNotFound(err) || apierrors.IsConflict(err))
			return nil
		}
		if c >= 0 {
			told[uid] = p.Status.Conditions[c].Message
			s.cfg.TellScheduled(before, corev1.EventTypeWarning, "FailedScheduling", told[uid])
		} else {
			s.placed(p)
		}
		return nil
	})
	if err != nil {
		s.cfg.Log.Warn("cannot place Pods; it is tried again", "err", err)
	}
	for uid := range told {
		if !waiting[uid] {
			delete(told, uid)
		}
	}
	return ok && err == nil
}

// createdPod tells whether a new Pod got its node here: it may have come with it, or
// wait for one.
func (s *Server) createdPod(o, sent store.Object) {
	if p := o.(*corev1.Pod); p.Spec.NodeName != "" && sent.(*corev1.Pod).Spec.NodeName == "" {
		s.placed(p)
	}
}

// placed tells that a Pod has its node.
func (s *Server) placed(p *corev1.Pod) {
	s.cfg.TellScheduled(p, corev1.EventTypeNormal, "Scheduled", fmt.Sprintf("Successfully assigned %s/%s to %s", p.Namespace, p.Name, p.Spec.NodeName))
}
