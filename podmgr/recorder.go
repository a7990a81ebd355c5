// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/minikubelet/minikubelet/store"
)

// Events is the store's name of the events' resource.
const Events = "events"

// component tells the node's own events from those of others.
const component = "minikubelet"

const (
	// eventsMax bounds the events at rest, whoever made them; the oldest go first.
	eventsMax = 1000
	// eventsAge is how long an event is kept, as kube-apiserver's --event-ttl.
	eventsAge = time.Hour
	// linger is how long an event waits for others to be written with: a simple Pod's
	// start, which then shares its processor and its disk with none of them.
	linger = 100 * time.Millisecond
	// similarMax is how many events of an object may differ in their message alone
	// before the next ones are combined into one, and similarAge after how long
	// without another they no longer are. Both are client-go's.
	similarMax, similarAge = 10, 10 * time.Minute
	// combined begins the message of an event that stands for several.
	combined = "(combined from similar events): "
	// eventsQueued bounds what waits for the disk; more is dropped and logged.
	eventsQueued = 256
)

// recorder counts events and brings them into the store in the background. The
// same event of the same object again raises its count, and events that differ in
// their message alone are combined when they are many, as in Kubernetes.
type recorder struct {
	store *store.Store
	node  string
	log   *slog.Logger
	queue chan *corev1.Event
	// others tells of new events that others have made.
	others chan struct{}

	mu    sync.Mutex
	known map[string]*knownEvent // by what makes events the same
	alike map[string]*similar    // by what makes events similar
	last  int64                  // the newest name's time
}

// similar are events that differ in their messages alone.
type similar struct {
	messages map[string]bool
	last     time.Time
}

// knownEvent is one in the store, or on its way there.
type knownEvent struct {
	namespace, name string
	last            time.Time
}

func newRecorder(s *store.Store, node string, log *slog.Logger) *recorder {
	return &recorder{store: s, node: node, log: log, queue: make(chan *corev1.Event, eventsQueued), others: make(chan struct{}, 1), known: make(map[string]*knownEvent), alike: make(map[string]*similar)}
}

// record queues an event; it never blocks.
func (r *recorder) record(pod *corev1.Pod, fieldPath, kind, reason, message string) *corev1.Event {
	return r.recordOf(podReference(pod, fieldPath), pod.Namespace, kind, reason, message)
}

func podReference(pod *corev1.Pod, fieldPath string) corev1.ObjectReference {
	return corev1.ObjectReference{
		APIVersion: "v1", Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID,
		ResourceVersion: pod.ResourceVersion, FieldPath: fieldPath,
	}
}

// recordOf is record for any object; the event is in the given namespace.
func (r *recorder) recordOf(ref corev1.ObjectReference, namespace, kind, reason, message string) *corev1.Event {
	return r.recordBy(corev1.EventSource{Component: component, Host: r.node}, ref, namespace, kind, reason, message)
}

// recordBy is recordOf for an event that another component of a cluster would tell.
func (r *recorder) recordBy(source corev1.EventSource, ref corev1.ObjectReference, namespace, kind, reason, message string) *corev1.Event {
	now := metav1.Now()
	name, message := r.name(ref, namespace, kind, reason, message, now.Time)
	e := &corev1.Event{
		TypeMeta:       metav1.TypeMeta{APIVersion: "v1", Kind: "Event"},
		ObjectMeta:     metav1.ObjectMeta{Namespace: namespace, Name: name, CreationTimestamp: now},
		InvolvedObject: ref,
		Type:           kind, Reason: reason, Message: message,
		Source:         source,
		FirstTimestamp: now, LastTimestamp: now, Count: 1,
		ReportingController: source.Component, ReportingInstance: r.node,
	}
	select {
	case r.queue <- e:
	default:
		r.log.Warn("too many events wait for the disk; one is dropped", "reason", reason, "message", message)
	}
	return e
}

// made tells an event that a recorder has made.
func (r *recorder) made(e *corev1.Event) bool {
	return e.Source.Component == component || e.Source.Component == corev1.DefaultSchedulerName && e.ReportingInstance == r.node
}

// sameness tells which events are counted together.
func sameness(ref corev1.ObjectReference, kind, reason, message string) string {
	return strings.Join([]string{string(ref.UID), ref.FieldPath, kind, reason, message}, "\x00")
}

// likeness tells which events may be combined.
func likeness(ref corev1.ObjectReference, kind, reason string) string {
	return strings.Join([]string{string(ref.UID), kind, reason}, "\x00")
}

// name gives an event the name of the one that it is counted with, or a new one; and
// its message, which says so when it is combined with others.
// Names are in the order of the events, as in Kubernetes: the times in an event
// have whole seconds, and so lists of events show what came first first.
func (r *recorder) name(ref corev1.ObjectReference, namespace, kind, reason, message string, now time.Time) (string, string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := sameness(ref, kind, reason, message)
	if group := likeness(ref, kind, reason); r.tooMany(group, message, now) {
		key, message = group, combined+message
	}
	e := r.known[key]
	if e == nil {
		r.last = max(r.last+1, now.UnixNano())
		e = &knownEvent{namespace: namespace, name: fmt.Sprintf("%s.%x", ref.Name, r.last)}
		r.known[key] = e
	}
	e.last = now
	return e.name, message
}

// tooMany says whether a message is one of too many of its group, which it joins.
func (r *recorder) tooMany(group, message string, now time.Time) bool {
	s := r.alike[group]
	if s == nil || now.Sub(s.last) > similarAge {
		s = &similar{messages: make(map[string]bool)}
		r.alike[group] = s
	}
	s.last = now
	if !s.messages[message] && len(s.messages) == similarMax-1 {
		return true
	}
	s.messages[message] = true
	return false
}

// start begins the background work; the returned function writes what is queued
// and ends it.
func (r *recorder) start() func() {
	following, stop := context.WithCancel(context.Background())
	revision := r.load()
	quit := make(chan struct{})
	var both sync.WaitGroup
	both.Go(func() { r.follow(following, revision) })
	both.Go(func() {
		defer stop()
		aged := time.NewTimer(time.Hour)
		defer aged.Stop()
		for open := true; open; {
			aged.Reset(r.untilAged(time.Now()))
			var batch []*corev1.Event
			select {
			case now := <-aged.C:
				r.prune(now)
			case <-r.others:
				r.prune(time.Now())
			case e := <-r.queue:
				batch = append(batch, e)
				select {
				case <-time.After(linger):
				case <-quit:
				}
			case <-quit:
				open = false
			}
			r.writeAll(append(batch, r.queued()...))
		}
	})
	return func() { close(quit); both.Wait() }
}

// load finds the events that an earlier agent left, and those of others. It returns
// the revision at which they were there.
func (r *recorder) load() uint64 {
	now := time.Now()
	revision, err := r.store.List(Events, "", func(data store.Data) error {
		var e corev1.Event
		if err := data.Into(&e); err != nil {
			return err
		}
		r.notice(&e, lastSeen(&e, now))
		return nil
	})
	if err != nil {
		r.log.Warn("cannot read the stored events", "err", err)
	}
	return revision
}

// lastSeen is when an event happened last, or was made, and at the latest now.
func lastSeen(e *corev1.Event, now time.Time) time.Time {
	last := e.CreationTimestamp.Time
	for _, at := range []time.Time{e.LastTimestamp.Time, e.EventTime.Time} {
		if at.After(last) {
			last = at
		}
	}
	if e.Series != nil && e.Series.LastObservedTime.After(last) {
		last = e.Series.LastObservedTime.Time
	}
	if last.After(now) {
		return now
	}
	return last
}

// foreign is the key of an event of others, which is counted with none of ours.
func foreign(e metav1.Object) string { return "\x00" + e.GetNamespace() + "/" + e.GetName() }

// notice counts a stored event among those that are bounded.
func (r *recorder) notice(e *corev1.Event, last time.Time) {
	key := foreign(e)
	if r.made(e) {
		key = sameness(e.InvolvedObject, e.Type, e.Reason, e.Message)
		if strings.HasPrefix(e.Message, combined) {
			key = likeness(e.InvolvedObject, e.Type, e.Reason)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if k := r.known[key]; k != nil && k.name != e.Name { // told again before this was read: each is pruned
		key += "\x00" + e.Name
	}
	r.known[key] = &knownEvent{e.Namespace, e.Name, last}
}

// follow takes note of what others make of events, from a revision on, until ctx ends.
// There is nobody else who bounds those.
func (r *recorder) follow(ctx context.Context, revision uint64) {
	w := r.store.Watch(Events, revision)
	defer func() { w.Close() }()
	for {
		e, err := w.Next(ctx)
		switch {
		case errors.Is(err, store.ErrTooOld):
			w.Close()
			w = r.store.Watch(Events, r.load())
		case err != nil:
			return
		case r.made(e.Object.(*corev1.Event)):
		case e.Type == store.Deleted:
			r.mu.Lock()
			delete(r.known, foreign(e.Object))
			r.mu.Unlock()
		default:
			r.notice(e.Object.(*corev1.Event), time.Now())
			r.wake()
		}
	}
}

// wake has the background work look whether there are too many.
func (r *recorder) wake() {
	select {
	case r.others <- struct{}{}:
	default:
	}
}

// queued takes what waits in the queue.
func (r *recorder) queued() (batch []*corev1.Event) {
	for {
		select {
		case e := <-r.queue:
			batch = append(batch, e)
		default:
			return batch
		}
	}
}

// writeAll brings events into the store at the same time, so that they share a
// wait for the disk; the same event twice goes one after the other.
func (r *recorder) writeAll(batch []*corev1.Event) {
	same := make(map[string][]*corev1.Event)
	for _, e := range batch {
		id := e.Namespace + "/" + e.Name
		same[id] = append(same[id], e)
	}
	var wg sync.WaitGroup
	for _, list := range same {
		wg.Go(func() {
			for _, e := range list {
				r.write(e)
			}
		})
	}
	wg.Wait()
	if len(batch) > 0 {
		r.prune(time.Now())
	}
}

func (r *recorder) write(e *corev1.Event) {
	var err error
	var old corev1.Event
	if r.store.Get(Events, e.Namespace, e.Name, &old) == nil {
		old.Count++
		old.LastTimestamp, old.Message = e.LastTimestamp, e.Message
		err = r.store.Update(Events, &old)
	} else {
		err = r.store.Create(Events, e.DeepCopy())
	}
	if err != nil {
		r.log.Warn("cannot store an event", "reason", e.Reason, "message", e.Message, "err", err)
		return
	}
}

// prune removes what is too old or too much.
func (r *recorder) prune(now time.Time) {
	for _, e := range r.surplus(now) {
		gone := &corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: e.name}}
		if err := r.store.Delete(Events, gone); err != nil && !apierrors.IsNotFound(err) {
			r.log.Warn("cannot remove an old event", "event", e.name, "err", err)
		}
	}
}

// untilAged is how long the oldest event may stay; an hour if there is none.
func (r *recorder) untilAged(now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	oldest := now
	for _, e := range r.known {
		if e.last.Before(oldest) {
			oldest = e.last
		}
	}
	return max(oldest.Add(eventsAge).Sub(now), 0) + time.Second // several at once
}

// surplus forgets events, the oldest first, and returns them.
func (r *recorder) surplus(now time.Time) []*knownEvent {
	r.mu.Lock()
	defer r.mu.Unlock()
	keys := slices.SortedFunc(maps.Keys(r.known), func(a, b string) int { return r.known[a].last.Compare(r.known[b].last) })
	var out []*knownEvent
	for i, key := range keys {
		if len(keys)-i <= eventsMax && now.Sub(r.known[key].last) <= eventsAge {
			break
		}
		out = append(out, r.known[key])
		delete(r.known, key)
	}
	maps.DeleteFunc(r.alike, func(_ string, s *similar) bool { return now.Sub(s.last) > similarAge })
	return out
}

// event tells the Pod's owner something; container may be empty.
func (w *worker) event(pod *corev1.Pod, container, kind, reason, message string) {
	e := w.m.events.record(pod, fieldPath(pod, container), kind, reason, message)
	w.log.Debug("event", "type", kind, "reason", reason, "container", container, "message", message)
	if w.m.cfg.OnEvent != nil {
		w.m.cfg.OnEvent(pod, container, e)
	}
}

// NodeEvent tells something of the node itself, as the kubelet does: in the namespace
// default, of an object whose UID is the node's name.
func (m *Manager) NodeEvent(kind, reason, message string) {
	m.events.recordOf(corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: m.cfg.NodeName, UID: types.UID(m.cfg.NodeName)},
		metav1.NamespaceDefault, kind, reason, message)
}

// SchedulerEvent tells of a Pod what the scheduler of a cluster would. It never blocks.
func (m *Manager) SchedulerEvent(pod *corev1.Pod, kind, reason, message string) {
	m.events.recordBy(corev1.EventSource{Component: corev1.DefaultSchedulerName}, podReference(pod, ""), pod.Namespace, kind, reason, message)
}

// ObjectEvent tells of any object; one that is in no namespace has its events in
// "default". It never blocks.
func (m *Manager) ObjectEvent(ref corev1.ObjectReference, kind, reason, message string) {
	namespace := ref.Namespace
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	m.events.recordOf(ref, namespace, kind, reason, message)
}

// fieldPath is the kubelet's path of a container in an event's object.
func fieldPath(pod *corev1.Pod, container string) string {
	if container == "" {
		return ""
	}
	for i := range pod.Spec.InitContainers {
		if pod.Spec.InitContainers[i].Name == container {
			return "spec.initContainers{" + container + "}"
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		if pod.Spec.EphemeralContainers[i].Name == container {
			return "spec.ephemeralContainers{" + container + "}"
		}
	}
	return "spec.containers{" + container + "}"
}
