// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/core/validation"
	upstream "k8s.io/kubernetes/pkg/apis/events/v1"

	"github.com/minikubelet/minikubelet/api"
	"github.com/minikubelet/minikubelet/store"
)

// newEventKind is Event of events.k8s.io: the core's events in another form, which
// client-go's newer recorder writes.
func newEventKind() *kind {
	old := eventKind()
	return declare[eventsv1.Event, eventsv1.EventList](&kind{
		group: eventsv1.GroupName, version: "v1", name: old.name, singular: old.singular, kind: old.kind, short: old.short,
		namespaced: true, verbs: allVerbs, makes: true, types: eventsv1.AddToScheme, columns: old.columns,
		view: &view{
			stored:   old.object,
			fromCore: func(o store.Object) store.Object { return newEvent(o.(*corev1.Event)) },
			toCore:   func(o store.Object) store.Object { return oldEvent(o.(*eventsv1.Event)) },
		},
		strategy: byRules(api.RulesOf(nil, upstream.Convert_v1_Event_To_core_Event,
			func(e *core.Event) field.ErrorList {
				return validation.ValidateEventCreate(e, eventsv1.SchemeGroupVersion)
			},
			func(e, old *core.Event) field.ErrorList {
				return validation.ValidateEventUpdate(e, old, eventsv1.SchemeGroupVersion)
			}), nil),
		cells: func(o store.Object) []any { return old.cells(oldEvent(o.(*eventsv1.Event))) },
		fields: func(o store.Object) fields.Set {
			of := old.fields(oldEvent(o.(*eventsv1.Event)))
			set := fields.Set{"reason": of["reason"], "reportingController": of["reportingComponent"], "type": of["type"]}
			for _, part := range []string{"kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath"} {
				set["regarding."+part] = of["involvedObject."+part]
			}
			return set
		},
	})
}

func newEvent(e *corev1.Event) *eventsv1.Event {
	out := &eventsv1.Event{
		TypeMeta:   metav1.TypeMeta{APIVersion: eventsv1.SchemeGroupVersion.String(), Kind: "Event"},
		ObjectMeta: e.ObjectMeta, EventTime: e.EventTime, ReportingController: e.ReportingController, ReportingInstance: e.ReportingInstance,
		Action: e.Action, Reason: e.Reason, Regarding: e.InvolvedObject, Related: e.Related, Note: e.Message, Type: e.Type,
		DeprecatedSource: e.Source, DeprecatedFirstTimestamp: e.FirstTimestamp, DeprecatedLastTimestamp: e.LastTimestamp, DeprecatedCount: e.Count,
	}
	if e.Series != nil {
		out.Series = &eventsv1.EventSeries{Count: e.Series.Count, LastObservedTime: e.Series.LastObservedTime}
	}
	return out
}

func oldEvent(e *eventsv1.Event) *corev1.Event {
	out := &corev1.Event{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Event"},
		ObjectMeta: e.ObjectMeta, EventTime: e.EventTime, ReportingController: e.ReportingController, ReportingInstance: e.ReportingInstance,
		Action: e.Action, Reason: e.Reason, InvolvedObject: e.Regarding, Related: e.Related, Message: e.Note, Type: e.Type,
		Source: e.DeprecatedSource, FirstTimestamp: e.DeprecatedFirstTimestamp, LastTimestamp: e.DeprecatedLastTimestamp, Count: e.DeprecatedCount,
	}
	if e.Series != nil {
		out.Series = &corev1.EventSeries{Count: e.Series.Count, LastObservedTime: e.Series.LastObservedTime}
	}
	return out
}
