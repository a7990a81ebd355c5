// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/streaming"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/minikubelet/minikubelet/store"
)

const (
	// bookmarkEvery is how often a quiet watch is told how far it has come.
	bookmarkEvery = time.Minute
	// watchTime is how long a watch lasts, up to twice that, when its client does
	// not say: kube-apiserver's --min-request-timeout.
	watchTime = 30 * time.Minute
	// slowWrite is how long a client may take to read one event.
	slowWrite = 30 * time.Second
)

// patience gives a client the time slowWrite to take what is written. There is no
// deadline between two writes: over HTTP/2 one that passes ends the stream, whether
// something is being written or not. Nor is there one for each write, which over
// HTTP/2 is two messages to the connection: a clock sets one when it is over.
type patience struct {
	time  time.Duration
	clock *time.Timer

	mu      sync.Mutex // held while a deadline is set: the request must not end meanwhile
	writing bool
}

func (s *Server) patience(control *http.ResponseController) *patience {
	p := &patience{time: s.readTime}
	p.clock = time.AfterFunc(p.time, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.writing {
			_ = control.SetWriteDeadline(time.Now()) // a recorder in tests has none
		}
	})
	p.clock.Stop()
	return p
}

// within does a write, for one goroutine at a time.
func (p *patience) within(write func() error) error {
	p.set(true)
	defer p.set(false)
	return write()
}

func (p *patience) set(writing bool) {
	if writing {
		p.clock.Reset(p.time)
	} else {
		p.clock.Stop()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writing = writing
}

// watcher writes one watch.
type watcher struct {
	s         *Server
	k         *kind
	f         form
	sel       selection
	table     tableOption
	header    bool // the next table names its columns
	bookmarks bool

	w        http.ResponseWriter
	control  *http.ResponseController
	patience *patience
}

// watch streams changes:
//
//   - from a resourceVersion on;
//   - without one, or with "0", all objects as ADDED first;
//   - with sendInitialEvents, all objects, then a bookmark that marks their end.
//
// An object that comes into the selection is ADDED, one that leaves it DELETED.
func (s *Server) watch(w http.ResponseWriter, r *http.Request, k *kind, req request) error {
	f, err := s.codecs.negotiate(r)
	if err != nil {
		return err
	}
	if f.info.StreamSerializer == nil { // YAML has no streams
		f.info, _ = s.codecs.find("application", "json")
	}
	q := r.URL.Query()
	sel, err := k.selection(q, req)
	if err != nil {
		return err
	}
	if err := validateListOptions(q, true); err != nil {
		return err
	}
	initial, initialEnd := false, false
	if text := q.Get("sendInitialEvents"); text != "" {
		initial, initialEnd = isTrue(text), isTrue(text)
	} else if v := q.Get("resourceVersion"); v == "" || v == "0" {
		initial = true
	}
	after, err := s.known(q.Get("resourceVersion"))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), watchDuration(q.Get("timeoutSeconds")))
	defer cancel()

	t := &watcher{s: s, k: k, f: f, sel: sel, table: tableOptions(q), header: true, bookmarks: isTrue(q.Get("allowWatchBookmarks")),
		w: w, control: http.NewResponseController(w)}
	t.patience = s.patience(t.control)
	var objects []store.Object
	if initial {
		var m metav1.ListMeta
		if objects, m, err = s.collect(k, req.namespace, sel, page{}); err != nil {
			return err
		}
		if after, err = strconv.ParseUint(m.ResourceVersion, 10, 64); err != nil {
			return apierrors.NewInternalError(err)
		}
	}
	events := s.cfg.Store.WatchBehind(k.name, after)
	defer events.Close()
	t.open()
	if err := t.begin(objects, initialEnd, after); err == nil {
		t.follow(ctx, s.cfg.Store, events)
	}
	return nil
}

func watchDuration(seconds string) time.Duration {
	if n, err := strconv.Atoi(seconds); err == nil && n > 0 {
		return time.Duration(min(n, 24*3600)) * time.Second
	}
	return watchTime + rand.N(watchTime)
}

// open sends the header.
func (t *watcher) open() {
	kind := mediaType(t.f)
	if t.f.info.MediaType == runtime.ContentTypeProtobuf {
		kind += ";stream=watch"
	}
	h := t.w.Header()
	h.Set("Content-Type", kind)
	h.Set("Cache-Control", "no-cache, private")
	t.w.WriteHeader(http.StatusOK)
	_ = t.control.Flush()
}

// begin sends what there is already.
func (t *watcher) begin(objects []store.Object, end bool, version uint64) error {
	for _, o := range objects {
		if err := t.send(watch.Added, o); err != nil {
			return err
		}
	}
	if end && t.bookmarks {
		return t.bookmark(version, map[string]string{metav1.InitialEventsAnnotationKey: "true"})
	}
	return nil
}

// follow sends changes until the watch's time is over, its client is gone or too
// slow, or changes were missed, which it tells.
func (t *watcher) follow(ctx context.Context, s *store.Store, events *store.Watcher) {
	for {
		// What was written before now has been handed out when the wait ends in vain.
		version := s.Revision()
		wait, cancel := context.WithTimeout(ctx, bookmarkEvery)
		e, err := events.Next(wait)
		cancel()
		switch {
		case err == nil:
			err = t.change(e)
		case errors.Is(err, store.ErrTooOld):
			if frame, bad := encodeFrame(t.f, watch.Error, statusOf(expired())); bad == nil {
				_ = t.put(frame)
			}
		case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
			if err = nil; t.bookmarks {
				err = t.bookmark(version, nil)
			}
		}
		if err != nil {
			return
		}
	}
}

// change tells a change as the selection sees it.
func (t *watcher) change(e store.Event) error {
	if t.k.view != nil {
		e.Object = t.k.shown(e.Object)
		if e.Previous != nil {
			e.Previous = t.k.shown(e.Previous)
		}
	}
	was := e.Previous != nil && t.sel.matches(t.k, e.Previous)
	is := e.Type != store.Deleted && t.sel.matches(t.k, e.Object)
	o := e.Object
	var kind watch.EventType
	switch {
	case is && was:
		kind = watch.Modified
	case is:
		kind = watch.Added
	case was:
		kind = watch.Deleted
		if e.Type != store.Deleted { // the last state that was selected, with the version of the change
			o = e.Previous
		}
	default:
		return nil
	}
	own := func() store.Object {
		o := o.DeepCopyObject().(store.Object)
		o.SetResourceVersion(strconv.FormatUint(e.Revision, 10))
		return o
	}
	key := frameKey{k: t.k, mediaType: t.f.info.MediaType, as: t.f.as, revision: e.Revision, event: kind}
	if t.f.as == "Table" {
		key.table, key.header, key.second = t.table, t.header, time.Now().Unix()
	}
	frame, err := t.s.frames.get(key, func() ([]byte, error) { return t.frame(kind, own()) })
	if err != nil {
		return err
	}
	return t.put(frame)
}

func (t *watcher) bookmark(version uint64, annotations map[string]string) error {
	o := t.k.object()
	o.SetResourceVersion(strconv.FormatUint(version, 10))
	o.SetAnnotations(annotations)
	return t.send(watch.Bookmark, o)
}

// send writes an object, which is the caller's own.
func (t *watcher) send(kind watch.EventType, o store.Object) error {
	frame, err := t.frame(kind, o)
	if err != nil {
		return err
	}
	return t.put(frame)
}

// frame is an object, which is the caller's own, as it is on the wire.
func (t *watcher) frame(kind watch.EventType, o store.Object) ([]byte, error) {
	var out runtime.Object
	var err error
	if t.f.as == "Table" {
		out, err = table(t.k, []store.Object{o}, metav1.ListMeta{ResourceVersion: o.GetResourceVersion()}, t.table, t.header)
	} else {
		out, err = shape(t.k, t.f, o, t.table)
	}
	if err != nil {
		return nil, err
	}
	return encodeFrame(t.f, kind, out)
}

func encodeFrame(f form, kind watch.EventType, o runtime.Object) ([]byte, error) {
	var object, frame bytes.Buffer
	if err := f.info.Serializer.Encode(o, &object); err != nil {
		return nil, err
	}
	stream := f.info.StreamSerializer
	err := streaming.NewEncoder(stream.NewFrameWriter(&frame), stream.Serializer).
		Encode(&metav1.WatchEvent{Type: string(kind), Object: runtime.RawExtension{Raw: object.Bytes()}})
	return frame.Bytes(), err
}

func (t *watcher) put(frame []byte) error {
	t.header = false
	return t.patience.within(func() error {
		if _, err := t.w.Write(frame); err != nil {
			return err
		}
		return t.control.Flush()
	})
}
