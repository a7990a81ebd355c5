// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/minikubelet/minikubelet/api"
	"github.com/minikubelet/minikubelet/store"
)

func eventKind() *kind {
	return declare[corev1.Event, corev1.EventList](&kind{
		version: "v1", name: "events", singular: "event", kind: "Event", short: []string{"ev"},
		namespaced: true, verbs: allVerbs, makes: true,
		strategy: byRules(api.EventRules(), nil),
		types:    corev1.AddToScheme,
		columns: []metav1.TableColumnDefinition{
			column("Last Seen", "string", 0, "When it happened last."),
			column("Type", "string", 0, "Normal or Warning."),
			column("Reason", "string", 0, "The kind of event, in a word."),
			column("Object", "string", 0, "What it is about."),
			column("Subobject", "string", 1, "The part of the object."),
			column("Source", "string", 1, "Who tells it."),
			column("Message", "string", 0, "What happened."),
			column("First Seen", "string", 1, "When it happened first."),
			column("Count", "integer", 1, "How often it happened."),
			column("Name", "string", 1, "Name of the event."),
		},
		cells: func(o store.Object) []any { return eventCells(o.(*corev1.Event)) },
		fields: func(o store.Object) fields.Set {
			e := o.(*corev1.Event)
			source := e.Source.Component
			if source == "" {
				source = e.ReportingController
			}
			return fields.Set{
				"involvedObject.kind": e.InvolvedObject.Kind, "involvedObject.namespace": e.InvolvedObject.Namespace,
				"involvedObject.name": e.InvolvedObject.Name, "involvedObject.uid": string(e.InvolvedObject.UID),
				"involvedObject.apiVersion":      e.InvolvedObject.APIVersion,
				"involvedObject.resourceVersion": e.InvolvedObject.ResourceVersion,
				"involvedObject.fieldPath":       e.InvolvedObject.FieldPath,
				"reason":                         e.Reason, "reportingComponent": e.ReportingController, "source": source, "type": e.Type,
			}
		},
	})
}

func eventCells(e *corev1.Event) []any {
	first := age(e.FirstTimestamp)
	if e.FirstTimestamp.IsZero() {
		first = age(metav1.Time(e.EventTime))
	}
	last, count := age(e.LastTimestamp), max(e.Count, 1)
	if e.LastTimestamp.IsZero() {
		last = first
	}
	if e.Series != nil {
		last, count = age(metav1.Time(e.Series.LastObservedTime)), e.Series.Count
	}
	object := strings.ToLower(e.InvolvedObject.Kind)
	if e.InvolvedObject.Name != "" {
		object += "/" + e.InvolvedObject.Name
	}
	source := e.Source.Component
	if source == "" {
		source = e.ReportingController
	}
	if host := e.Source.Host; host != "" {
		source = fmt.Sprintf("%s, %s", source, host)
	}
	return []any{
		last, e.Type, e.Reason, object, e.InvolvedObject.FieldPath, source, strings.TrimSpace(e.Message), first, int64(count), e.Name,
	}
}
