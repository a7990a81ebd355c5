// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// client is client-go's typed client with its defaults, or with JSON.
func (b *bench) client(contentType string) kubernetes.Interface {
	b.t.Helper()
	c, err := kubernetes.NewForConfig(&rest.Config{Host: b.http.URL, QPS: 1000, Burst: 1000, ContentConfig: rest.ContentConfig{ContentType: contentType}})
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

var contentTypes = []string{"", "application/json", "application/vnd.kubernetes.protobuf"}

func TestTypedClientReads(t *testing.T) {
	b := newBench(t)
	b.pod("default", "a", "app=x")
	b.pod("default", "b")
	for _, contentType := range contentTypes {
		pods := b.client(contentType).CoreV1().Pods("default")
		pod, err := pods.Get(t.Context(), "a", metav1.GetOptions{})
		if err != nil || pod.Spec.Containers[0].Image != "busybox" || pod.ResourceVersion != "1" {
			t.Fatalf("%s: get: %v %v", contentType, pod, err)
		}
		list, err := pods.List(t.Context(), metav1.ListOptions{LabelSelector: "app=x"})
		if err != nil || names(list) != "default/a" || list.ResourceVersion != "2" {
			t.Fatalf("%s: list: %v %v", contentType, list, err)
		}
		if _, err := pods.Get(t.Context(), "z", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Fatalf("%s: get of what is not there: %v", contentType, err)
		}
		v, err := b.client(contentType).Discovery().ServerVersion()
		if err != nil || v.GitVersion != "v1.36.3" || v.Minor != "36" {
			t.Fatalf("%s: version: %v %v", contentType, v, err)
		}
		_, resources, err := b.client(contentType).Discovery().ServerGroupsAndResources()
		if err != nil || len(resources) < 7 {
			t.Fatalf("%s: discovery: %v %v", contentType, resources, err)
		}
	}
}

// Pages are of one moment in every form, also of a selection.
func TestTypedClientPages(t *testing.T) {
	for _, contentType := range contentTypes {
		for _, selector := range []string{"", "on=1"} {
			b := newBench(t)
			for i := range 5 {
				b.pod("default", fmt.Sprint("p", i), "on=1")
			}
			pods := b.client(contentType).CoreV1().Pods("default")
			o := metav1.ListOptions{Limit: 2, LabelSelector: selector}
			var got []string
			for page := 0; page == 0 || o.Continue != ""; page++ {
				list, err := pods.List(t.Context(), o)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, list.ResourceVersion+": "+names(list))
				if o.Continue = list.Continue; page > 0 {
					continue
				}
				b.pod("default", "p22", "on=1")
				for _, name := range []string{"p0", "p3"} {
					if err := b.store.Delete("pods", &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}); err != nil {
						t.Fatal(err)
					}
				}
			}
			if got := strings.Join(got, " | "); got != "5: default/p0 default/p1 | 5: default/p2 default/p3 | 5: default/p4" {
				t.Errorf("%s %q: %s", contentType, selector, got)
			}
		}
	}
}

func TestWatchFollowsTheSelection(t *testing.T) {
	for _, contentType := range contentTypes {
		t.Run(contentType, func(t *testing.T) {
			b := newBench(t)
			p := b.pod("default", "a")
			w, err := b.client(contentType).CoreV1().Pods("default").Watch(t.Context(), metav1.ListOptions{LabelSelector: "on=1", ResourceVersion: "1"})
			if err != nil {
				t.Fatal(err)
			}
			defer w.Stop()
			label := func(v string) {
				p.Labels = map[string]string{"on": v}
				if err := b.store.Update("pods", p); err != nil {
					t.Fatal(err)
				}
			}
			label("0")
			label("1") // version 3: comes in
			p.Annotations = map[string]string{"x": "y"}
			label("1")
			label("0") // leaves
			label("0")
			label("1")
			if err := b.store.Delete("pods", p.DeepCopy()); err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{"ADDED 3 1", "MODIFIED 4 1", "DELETED 5 1", "ADDED 7 1", "DELETED 8 1"} {
				e := next(t, w)
				o := e.Object.(*corev1.Pod)
				if got := fmt.Sprint(e.Type, " ", o.ResourceVersion, " ", o.Labels["on"]); got != want {
					t.Errorf("%s, not %s", got, want)
				}
			}
		})
	}
}

func next(t *testing.T, w watch.Interface) watch.Event {
	t.Helper()
	select {
	case e, ok := <-w.ResultChan():
		if !ok {
			t.Fatal("the watch has ended")
		}
		return e
	case <-time.After(time.Minute):
		t.Fatal("nothing came in a minute")
	}
	return watch.Event{}
}

func TestWatchBegins(t *testing.T) {
	b := newBench(t)
	b.pod("default", "a")
	b.pod("default", "b")
	pods := b.client("").CoreV1().Pods("default")
	yes := true
	for name, c := range map[string]struct {
		options metav1.ListOptions
		want    []string
	}{
		"anywhere":  {metav1.ListOptions{ResourceVersion: "0"}, []string{"ADDED a", "ADDED b"}},
		"now":       {metav1.ListOptions{}, []string{"ADDED a", "ADDED b"}},
		"somewhere": {metav1.ListOptions{ResourceVersion: "1"}, []string{"ADDED b"}},
		"watch list": {metav1.ListOptions{SendInitialEvents: &yes, AllowWatchBookmarks: true, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan},
			[]string{"ADDED a", "ADDED b", "BOOKMARK  true"}},
		"one": {metav1.ListOptions{FieldSelector: "metadata.name=b"}, []string{"ADDED b"}},
	} {
		w, err := pods.Watch(t.Context(), c.options)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, want := range c.want {
			e := next(t, w)
			o := e.Object.(*corev1.Pod)
			got := string(e.Type) + " " + o.Name
			if v := o.Annotations[metav1.InitialEventsAnnotationKey]; v != "" {
				got += " " + v
			}
			if got != want {
				t.Errorf("%s: %s, not %s", name, got, want)
			}
		}
		w.Stop()
	}
}

func TestWatchOfWhatIsNoLongerKnown(t *testing.T) {
	b := newBench(t)
	p := b.pod("default", "a")
	for range 4200 { // more than the store keeps
		if err := b.store.Update("pods", p); err != nil {
			t.Fatal(err)
		}
	}
	w, err := b.client("").CoreV1().Pods("default").Watch(t.Context(), metav1.ListOptions{ResourceVersion: "1"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	if e := next(t, w); e.Type != watch.Error || !apierrors.IsResourceExpired(apierrors.FromObject(e.Object)) {
		t.Errorf("%v", e)
	}
	if _, err := b.client("").CoreV1().Pods("").List(t.Context(), metav1.ListOptions{ResourceVersion: "1", ResourceVersionMatch: metav1.ResourceVersionMatchExact}); !apierrors.IsResourceExpired(err) {
		t.Errorf("list: %v", err)
	}
}

func TestWatchEndsInTime(t *testing.T) {
	b := newBench(t)
	one := int64(1)
	w, err := b.client("").CoreV1().Pods("").Watch(t.Context(), metav1.ListOptions{TimeoutSeconds: &one})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	select {
	case e, ok := <-w.ResultChan():
		if ok {
			t.Errorf("%v", e)
		}
	case <-time.After(time.Minute):
		t.Error("the watch goes on")
	}
}

func TestInformerSeesEverything(t *testing.T) {
	b := newBench(t)
	b.pod("default", "first")
	ctx, cancel := context.WithCancel(t.Context())
	factory := informers.NewSharedInformerFactory(b.client(""), 0)
	pods := factory.Core().V1().Pods()
	pods.Informer()
	factory.StartWithContext(ctx)
	defer factory.Shutdown()
	defer cancel()
	factory.WaitForCacheSync(ctx.Done())
	const writers, each = 4, 25
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			for j := range each {
				p := b.pod("default", fmt.Sprintf("p-%d-%d", i, j))
				p.Labels = map[string]string{"changed": "yes"}
				if err := b.store.Update("pods", p); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	changed := labels.SelectorFromSet(labels.Set{"changed": "yes"})
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		list, err := pods.Lister().List(changed)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == writers*each {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the informer knows %d of %d", len(list), writers*each)
		}
	}
}
