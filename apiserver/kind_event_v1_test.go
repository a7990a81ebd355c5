// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"reflect"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/randfill"
)

func TestEventsHaveTwoForms(t *testing.T) {
	b := newBench(t)
	b.space("default")
	c := b.client("application/vnd.kubernetes.protobuf")
	now := metav1.NewMicroTime(time.Now().Truncate(time.Microsecond))
	w, err := c.EventsV1().Events("default").Watch(t.Context(), metav1.ListOptions{FieldSelector: "regarding.name=p"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	e := &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: "e"}, EventTime: now, ReportingController: "example.com/c", ReportingInstance: "c-1",
		Action: "Doing", Reason: "Done", Note: "it is done", Type: corev1.EventTypeNormal, Regarding: corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: "p"},
	}
	if _, err = c.EventsV1().Events("default").Create(t.Context(), e, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	// As the recorder does when the same happens again.
	patch := `{"series":{"count":2,"lastObservedTime":"` + now.UTC().Format("2006-01-02T15:04:05.000000Z07:00") + `"}}`
	if _, err = c.EventsV1().Events("default").Patch(t.Context(), "e", types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Error(err)
	}
	for _, kind := range []watch.EventType{watch.Added, watch.Modified} {
		got := <-w.ResultChan()
		o, ok := got.Object.(*eventsv1.Event)
		if got.Type != kind || !ok || o.Note != "it is done" || (kind == watch.Modified) != (o.Series != nil) {
			t.Errorf("%s: %+v", got.Type, got.Object)
		}
	}
	old, err := c.CoreV1().Events("default").Get(t.Context(), "e", metav1.GetOptions{})
	if err != nil || old.Message != "it is done" || old.InvolvedObject.Name != "p" || old.Series.Count != 2 {
		t.Errorf("%v: %+v", err, old)
	}
	if _, err = c.CoreV1().Events("default").Update(t.Context(), old, metav1.UpdateOptions{FieldManager: "m"}); err != nil {
		t.Error(err)
	}
	_, err = c.CoreV1().Events("default").Create(t.Context(), &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: "old"}, InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: "q"}, Message: "long ago", Count: 7,
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	list, err := c.EventsV1().Events("").List(t.Context(), metav1.ListOptions{Limit: 1})
	if err != nil || len(list.Items) != 1 || list.Continue == "" {
		t.Fatalf("%v: %+v", err, list)
	}
	list, err = c.EventsV1().Events("").List(t.Context(), metav1.ListOptions{Limit: 1, Continue: list.Continue})
	if err != nil || len(list.Items) != 1 || list.Items[0].Note != "long ago" || list.Items[0].DeprecatedCount != 7 {
		t.Errorf("%v: %+v", err, list)
	}
	e.Name, e.Type = "odd", "Odd"
	if _, err = c.EventsV1().Events("default").Create(t.Context(), e, metav1.CreateOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("an odd type: %v", err)
	}
	if err = c.EventsV1().Events("default").Delete(t.Context(), "e", metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
	if _, err = c.CoreV1().Events("default").Get(t.Context(), "e", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("deleted: %v", err)
	}
}

func TestEventFormsKeepEverything(t *testing.T) {
	fill := randfill.New().NilChance(0).NumElements(1, 2)
	for range 20 {
		var e corev1.Event
		fill.Fill(&e)
		e.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Event"}
		if got := oldEvent(newEvent(&e)); !reflect.DeepEqual(got, &e) {
			t.Fatalf("%+v\nbecame %+v", e, *got)
		}
	}
}
