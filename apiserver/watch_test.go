// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/minikubelet/minikubelet/store"
)

// http2 serves the bench's server over HTTP/2, as client-go and kubectl speak it
// with a server that has TLS.
func (b *bench) http2() *httptest.Server {
	h := httptest.NewUnstartedServer(nil)
	h.Config = newHTTPServer(b.t.Context(), nil, b.server.Trusted(), b.server.cfg.Log, b.server.readTime)
	h.EnableHTTP2 = true
	h.StartTLS()
	b.t.Cleanup(func() {
		h.CloseClientConnections()
		h.Close()
	})
	return h
}

// slowLogs writes a line, and another when it is told to.
type slowLogs struct{ more chan struct{} }

func (l slowLogs) ReadLog(ctx context.Context, _ *corev1.Pod, _ *corev1.PodLogOptions, w io.Writer) error {
	if _, err := io.WriteString(w, "first\n"); err != nil {
		return err
	}
	select {
	case <-l.more:
	case <-ctx.Done():
		return ctx.Err()
	}
	_, err := io.WriteString(w, "second\n")
	return err
}

// A watch, or a log that is followed, may be quiet for longer than its client may
// take to read what there is.
func TestQuietStreamsGoOn(t *testing.T) {
	b := newBench(t)
	p := b.pod("default", "a")
	logs := slowLogs{make(chan struct{})}
	b.server.cfg.Logs = logs
	const short = 100 * time.Millisecond
	b.server.answerTime, b.server.readTime = short, short
	h := b.http2()

	client, err := kubernetes.NewForConfigAndClient(&rest.Config{Host: h.URL}, h.Client())
	if err != nil {
		t.Fatal(err)
	}
	w, err := client.CoreV1().Pods("default").Watch(t.Context(), metav1.ListOptions{ResourceVersion: "1"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	log, err := client.CoreV1().Pods("default").GetLogs("a", &corev1.PodLogOptions{Follow: true}).Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	for range 2 {
		time.Sleep(4 * short)
		p.Annotations = map[string]string{"at": time.Now().String()}
		if err := b.store.Update("pods", p); err != nil {
			t.Fatal(err)
		}
		if e := next(t, w); e.Type != "MODIFIED" {
			t.Fatalf("%v", e)
		}
	}
	close(logs.more)
	text, err := io.ReadAll(log)
	if err != nil || string(text) != "first\nsecond\n" {
		t.Errorf("%q %v", text, err)
	}
}

// A watcher that reads nothing holds up nobody, not even the others of its own
// connection, and is sent away.
func TestSlowWatcherHarmsNobody(t *testing.T) {
	for _, version := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(version, func(t *testing.T) {
			b := newBench(t)
			b.server.readTime = 2 * time.Second
			h := b.http
			if version == "HTTP/2.0" {
				h = b.http2()
			}
			open := func() *http.Response {
				r, err := h.Client().Get(h.URL + "/api/v1/configmaps?watch=true&resourceVersion=0")
				if err != nil || r.StatusCode != http.StatusOK || r.Proto != version {
					t.Fatal(r, err)
				}
				t.Cleanup(func() { _ = r.Body.Close() })
				return r
			}
			slow, quick := open(), bufio.NewReader(open().Body)

			// More than the buffers between them have: 4 MiB for a stream of Go's client.
			const changes, size = 40, 512 << 10
			for i := range changes {
				o := &corev1.ConfigMap{Data: map[string]string{"k": strings.Repeat("x", size)}}
				o.Namespace, o.Name = "default", fmt.Sprint("m", i)
				if err := b.store.Create("configmaps", o); err != nil {
					t.Fatal(err)
				}
				line, err := quick.ReadString('\n')
				if err != nil || !strings.Contains(line, `"name":"`+o.Name+`"`) {
					t.Fatalf("change %d: %.200s %v", i, line, err)
				}
			}
			b.eventually("the slow watcher is gone", func() string {
				b.server.watches.mu.Lock()
				defer b.server.watches.mu.Unlock()
				if n := b.server.watches.taken; n != 1 {
					return fmt.Sprint(n, " watches")
				}
				return "the slow watcher is gone"
			})
			if n, err := io.Copy(io.Discard, slow.Body); err == nil && n >= changes*size {
				t.Errorf("it got everything, %d bytes", n)
			}
		})
	}
}

// deafConn is a connection whose client stops to read, at all.
type deafConn struct {
	net.Conn
	deaf   atomic.Bool
	closed chan struct{}
}

func (c *deafConn) Read(p []byte) (int, error) {
	if c.deaf.Load() {
		<-c.closed
		return 0, net.ErrClosed
	}
	return c.Conn.Read(p)
}

// A client that reads nothing of its connection any more, so that not even the end of
// a stream can be told to it, loses the connection.
func TestDeafClientLosesItsWatches(t *testing.T) {
	b := newBench(t)
	b.server.readTime = time.Second
	h := b.http2()
	deaf := &deafConn{closed: make(chan struct{})}
	defer close(deaf.closed)
	h.Client().Transport.(*http.Transport).DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, address)
		if err == nil {
			err = c.(*net.TCPConn).SetReadBuffer(64 << 10)
		}
		deaf.Conn = c
		return deaf, err
	}
	const watches = 8
	for range watches {
		r, err := h.Client().Get(h.URL + "/api/v1/configmaps?watch=true&resourceVersion=0")
		if err != nil || r.ProtoMajor != 2 {
			t.Fatal(r, err)
		}
		defer r.Body.Close()
	}
	taken := func() string {
		b.server.watches.mu.Lock()
		defer b.server.watches.mu.Unlock()
		return fmt.Sprint(b.server.watches.taken)
	}
	if n := taken(); n != fmt.Sprint(watches) {
		t.Fatal(n, "watches")
	}
	deaf.deaf.Store(true)
	for i := range 40 {
		o := &corev1.ConfigMap{Data: map[string]string{"k": strings.Repeat("x", 512<<10)}}
		o.Namespace, o.Name = "default", fmt.Sprint("m", i)
		if err := b.store.Create("configmaps", o); err != nil {
			t.Fatal(err)
		}
	}
	b.eventually("0", taken)
}

// Each watcher sees a change as its own selection does, in its own form, though the
// others of the same change share what is encoded.
func TestWatchersOfOneChange(t *testing.T) {
	b := newBench(t)
	p := b.pod("default", "a", "on=0")
	type stream struct {
		selector string
		want     []string
		watch    watch.Interface
	}
	var all []*stream
	for _, contentType := range contentTypes {
		for selector, want := range map[string][]string{
			"":     {"MODIFIED 2 1", "MODIFIED 3 0", "MODIFIED 4 0", "DELETED 5 0"},
			"on=1": {"ADDED 2 1", "DELETED 3 1"},
			"on=0": {"DELETED 2 0", "ADDED 3 0", "MODIFIED 4 0", "DELETED 5 0"},
			"on":   {"MODIFIED 2 1", "MODIFIED 3 0", "MODIFIED 4 0", "DELETED 5 0"},
		} {
			w, err := b.client(contentType).CoreV1().Pods("default").Watch(t.Context(), metav1.ListOptions{LabelSelector: selector, ResourceVersion: "1"})
			if err != nil {
				t.Fatal(err)
			}
			defer w.Stop()
			all = append(all, &stream{selector, want, w})
		}
	}
	for _, on := range []string{"1", "0", "0"} {
		p.Labels = map[string]string{"on": on}
		if err := b.store.Update("pods", p); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.store.Delete("pods", p.DeepCopy()); err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		for _, want := range s.want {
			e := next(t, s.watch)
			o := e.Object.(*corev1.Pod)
			if got := fmt.Sprint(e.Type, " ", o.ResourceVersion, " ", o.Labels["on"]); got != want {
				t.Errorf("%q: %s, not %s", s.selector, got, want)
			}
		}
	}
}

// Watchers share what an event is encoded to; of a table, only the first has the
// columns, for each watcher.
func TestWatchersOfTables(t *testing.T) {
	b := newBench(t)
	p := b.pod("default", "a")
	for _, on := range []string{"1", "2"} {
		p.Labels = map[string]string{"on": on}
		if err := b.store.Update("pods", p); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // the second one finds what the first has made
		for query, want := range map[string]string{
			"Table resourceVersion=1":                      "MODIFIED Table 9 PartialObjectMetadata 1; MODIFIED Table 0 PartialObjectMetadata 2; ",
			"Table resourceVersion=2":                      "MODIFIED Table 9 PartialObjectMetadata 2; ",
			"Table resourceVersion=1&includeObject=Object": "MODIFIED Table 9 Pod 1; MODIFIED Table 0 Pod 2; ",
			"PartialObjectMetadata resourceVersion=1":      "MODIFIED PartialObjectMetadata 1; MODIFIED PartialObjectMetadata 2; ",
			"Table resourceVersion=1&labelSelector=on%3D2": "ADDED Table 9 PartialObjectMetadata 2; ",
			"Table resourceVersion=1&labelSelector=on%3D1": "ADDED Table 9 PartialObjectMetadata 1; DELETED Table 0 PartialObjectMetadata 1; ",
		} {
			as, query, _ := strings.Cut(query, " ")
			r, err := http.NewRequestWithContext(t.Context(), "GET", b.http.URL+"/api/v1/pods?watch=1&"+query, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Accept", "application/json;as="+as+";v=v1;g=meta.k8s.io")
			answer, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			got, events := "", json.NewDecoder(answer.Body)
			for range strings.Count(want, ";") {
				var e struct {
					Type   string
					Object struct {
						metav1.PartialObjectMetadata
						ColumnDefinitions []any
						Rows              []struct{ Object metav1.PartialObjectMetadata }
					}
				}
				if err := events.Decode(&e); err != nil {
					t.Fatal(err)
				}
				got += e.Type + " " + e.Object.Kind
				o := e.Object.PartialObjectMetadata
				if len(e.Object.Rows) == 1 {
					o = e.Object.Rows[0].Object
					got += fmt.Sprint(" ", len(e.Object.ColumnDefinitions), " ", o.Kind)
				}
				got += " " + o.Labels["on"] + "; "
			}
			_ = answer.Body.Close()
			if got != want {
				t.Errorf("%s %s: %s\nand not %s", as, query, got, want)
			}
		}
	}
}

// TestTablesOfEventsHaveTheirTime: an event's table is made once for those who watch
// now, but who comes later sees the ages of then.
func TestTablesOfEventsHaveTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := configMapKind()
		s := &Server{codecs: newCodecs([]*kind{k}), readTime: time.Minute}
		info, _ := s.codecs.find("application", "json")
		c := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a", CreationTimestamp: metav1.Now()}}
		for _, want := range []string{`"0s"`, `"60s"`} {
			recorder := httptest.NewRecorder()
			control := http.NewResponseController(recorder)
			w := &watcher{s: s, k: k, f: form{info: info, as: "Table"}, sel: selection{labels: labels.Everything(), fields: fields.Everything()},
				w: recorder, control: control, patience: s.patience(control)}
			if err := w.change(store.Event{Type: store.Added, Object: c, Revision: 1}); err != nil {
				t.Fatal(err)
			}
			if got := recorder.Body.String(); !strings.Contains(got, want) {
				t.Errorf("no age %s in %s", want, got)
			}
			time.Sleep(time.Minute)
		}
	})
}
