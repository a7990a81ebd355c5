// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"fmt"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/minikubelet/minikubelet/store"
)

func podKind(s *Server) *kind {
	cfg := &s.cfg
	k := declare[corev1.Pod, corev1.PodList](&kind{
		version: "v1", name: "pods", singular: "pod", kind: "Pod", short: []string{"po"}, categories: []string{"all"},
		namespaced: true, verbs: allVerbs, subresources: []subresource{podBinding(), podLog(), podExec(), podAttach(), podPortForward(), podEphemeralContainers(cfg), podResize(s), podEviction(), podProxy()},
		strategy: podStrategy(s), complete: (*Server).completePod, admit: (*Server).admitPod, created: (*Server).createdPod,
		types: corev1.AddToScheme,
		columns: []metav1.TableColumnDefinition{
			column("Name", "string", 0, "Name of the Pod."),
			column("Ready", "string", 0, "Containers that are ready, of all that stay."),
			column("Status", "string", 0, "What the Pod is doing, in a word."),
			column("Restarts", "string", 0, "Restarts of its containers, and when the last one was."),
			column("Age", "string", 0, "Time since its creation."),
			column("IP", "string", 1, "Address of the Pod."),
			column("Node", "string", 1, "Node that it runs on."),
			column("Nominated Node", "string", 1, "Node that it was meant for."),
			column("Readiness Gates", "string", 1, "Conditions that it waits for, besides its containers."),
		},
		cells: func(o store.Object) []any { return podCells(cfg, o.(*corev1.Pod)) },
		fields: func(o store.Object) fields.Set {
			p := o.(*corev1.Pod)
			return fields.Set{
				"spec.nodeName": p.Spec.NodeName, "spec.restartPolicy": string(p.Spec.RestartPolicy),
				"spec.schedulerName": p.Spec.SchedulerName, "spec.serviceAccountName": p.Spec.ServiceAccountName,
				"spec.hostNetwork": strconv.FormatBool(p.Spec.HostNetwork),
				"status.phase":     string(p.Status.Phase), "status.podIP": p.Status.PodIP,
				"status.nominatedNodeName": p.Status.NominatedNodeName,
			}
		},
	})
	k.subresources = append(k.subresources, podStatus(cfg, k))
	return k
}

func podCells(cfg *Config, p *corev1.Pod) []any {
	status, ready, total, restarts := cfg.Summary(p)
	restartsText := strconv.Itoa(restarts)
	if last := lastEnd(p); restarts > 0 && !last.IsZero() {
		restartsText += " (" + age(metav1.Time{Time: last}) + " ago)"
	}
	gates := none
	if n := len(p.Spec.ReadinessGates); n > 0 {
		met := 0
		for _, g := range p.Spec.ReadinessGates {
			for _, c := range p.Status.Conditions {
				if c.Type == g.ConditionType && c.Status == corev1.ConditionTrue {
					met++
				}
			}
		}
		gates = fmt.Sprintf("%d/%d", met, n)
	}
	return []any{
		p.Name, fmt.Sprintf("%d/%d", ready, total), status, restartsText, age(p.CreationTimestamp),
		orNone(p.Status.PodIP), orNone(p.Spec.NodeName), orNone(p.Status.NominatedNodeName), gates,
	}
}

// lastEnd is when the attempt ended that was restarted last.
func lastEnd(p *corev1.Pod) time.Time {
	var last time.Time
	for _, list := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
		for i := range list {
			if t := list[i].LastTerminationState.Terminated; t != nil && t.FinishedAt.After(last) {
				last = t.FinishedAt.Time
			}
		}
	}
	return last
}

const none = "<none>"

func orNone(s string) string {
	if s == "" {
		return none
	}
	return s
}

// age is how long ago something was, as tables show it.
func age(t metav1.Time) string {
	if t.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(time.Since(t.Time))
}
