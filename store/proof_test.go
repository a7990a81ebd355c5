// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Writers read, add one and write, against each other. Each success must have read
// the success before it: the versions of an object are one chain, in the order of
// their revisions, and none is lost.
func TestUpdatesAreLinearisable(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "state.db"))
	const objects, writers, each = 3, 8, 40
	type success struct{ read, wrote, count int }
	var mu sync.Mutex
	done := make([][]success, objects)
	number := func(o metav1.Object) int { n, _ := strconv.Atoi(o.GetResourceVersion()); return n }
	for i := range objects {
		if err := s.Create("pods", pod(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	conflicts := 0
	for w := range writers {
		wg.Go(func() {
			for n := 0; n < each; {
				i := (n + w) % objects
				var p corev1.Pod
				if err := s.Get("pods", "default", fmt.Sprint(i), &p); err != nil {
					t.Error(err)
					return
				}
				read := number(&p)
				p.Generation++
				err := s.Update("pods", &p)
				mu.Lock()
				switch {
				case apierrors.IsConflict(err):
					conflicts++
				case err != nil:
					t.Error(err)
				default:
					n++
					done[i] = append(done[i], success{read, number(&p), int(p.Generation)})
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if conflicts == 0 {
		t.Error("there was no conflict: nothing is proved")
	}
	total := 0
	for i, all := range done {
		total += len(all)
		by := make(map[int]success)
		for _, one := range all {
			if have, twice := by[one.count]; twice {
				t.Fatalf("object %d: %+v and %+v have written the same count", i, have, one)
			}
			by[one.count] = one
		}
		for n := 2; n <= len(all); n++ {
			if by[n].read != by[n-1].wrote || by[n].wrote <= by[n-1].wrote {
				t.Fatalf("object %d: %+v follows %+v", i, by[n], by[n-1])
			}
		}
		var p corev1.Pod
		if err := s.Get("pods", "default", fmt.Sprint(i), &p); err != nil || int(p.Generation) != len(all) || number(&p) != by[len(all)].wrote {
			t.Fatalf("object %d ended as %d at %s after %d writes: %v", i, p.Generation, p.ResourceVersion, len(all), err)
		}
	}
	if total != writers*each {
		t.Errorf("%d writes of %d", total, writers*each)
	}
}

// mirror is a reader as informers are: it lists, follows, and lists again when it is
// told that it has missed something.
type mirror struct {
	versions map[string]string
	at       uint64
	lists    int
}

func (m *mirror) list(s *Store) error {
	m.versions, m.lists = make(map[string]string), m.lists+1
	var err error
	m.at, err = s.Scan("pods", "", "", func(key string, data Data) error {
		v, err := data.revision()
		m.versions[key] = v
		return err
	})
	return err
}

// follow reads changes until stop is closed and none is left.
func (m *mirror) follow(s *Store, stop <-chan struct{}, each func(read int)) error {
	w := s.Watch("pods", m.at)
	defer func() { w.Close() }()
	ctx, cancel := context.WithCancel(context.Background())
	go func() { <-stop; cancel() }()
	for read := 0; ; read++ {
		each(read)
		e, err := w.Next(ctx)
		switch {
		case errors.Is(err, ErrTooOld):
			if err := m.list(s); err != nil {
				return err
			}
			w.Close()
			w = s.Watch("pods", m.at)
			continue
		case err != nil:
			return nil
		case e.Revision <= m.at:
			return fmt.Errorf("change %d after %d", e.Revision, m.at)
		}
		m.at = e.Revision
		k := string(key(e.Object.GetNamespace(), e.Object.GetName()))
		if e.Previous != nil && e.Previous.GetResourceVersion() != m.versions[k] {
			return fmt.Errorf("%s was %s before change %d, not %s: a change was missed", k, e.Previous.GetResourceVersion(), e.Revision, m.versions[k])
		}
		if delete(m.versions, k); e.Type != Deleted {
			m.versions[k] = e.Object.GetResourceVersion()
		}
	}
}

// Ten thousand changes over restarts of the store, with a reader that keeps up and
// one that does not: both end with what there is, and neither goes back.
func TestWatchesMissNothingOverRestarts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	const restarts, writers, each = 4, 50, 50
	quick, slow := &mirror{}, &mirror{}
	before := uint64(0)
	for range restarts {
		s := open(t, path)
		if s.Revision() < before {
			t.Fatalf("revision %d after %d", s.Revision(), before)
		}
		s.ring = newRing(256, ringBytes)
		s.ring.opened, s.ring.floor = s.revision, s.revision
		stop, failed := make(chan struct{}), make(chan error, 2)
		for _, m := range []*mirror{quick, slow} {
			if err := m.list(s); err != nil { // its watch is of the store before: too old
				t.Fatal(err)
			}
			go func() {
				failed <- m.follow(s, stop, func(read int) {
					if m == slow && read%100 == 50 {
						time.Sleep(20 * time.Millisecond)
					}
				})
			}()
		}
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for i := range each {
					p := pod(fmt.Sprint(w))
					write := s.Update
					switch i % 5 {
					case 0:
						write = s.Create
					case 4:
						write = s.Delete
					}
					if err := write("pods", p); err != nil {
						t.Error(err)
					}
				}
				if err := s.Create("pods", pod(fmt.Sprintf("%d-%d", w, s.Revision()))); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		close(stop)
		for range 2 {
			if err := <-failed; err != nil {
				t.Fatal(err)
			}
		}
		now := &mirror{}
		if err := now.list(s); err != nil {
			t.Fatal(err)
		}
		// A reader that was stopped goes on where it was.
		for _, m := range []*mirror{quick, slow} {
			if err := m.catchUp(s); err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(m.versions) != fmt.Sprint(now.versions) {
				t.Fatalf("a reader has %d objects, and there are %d", len(m.versions), len(now.versions))
			}
		}
		before = s.Revision()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if before < 10000 {
		t.Fatalf("%d changes are no ten thousand", before)
	}
}

// catchUp follows until the reader has seen the store's last change.
func (m *mirror) catchUp(s *Store) error {
	if m.at == s.Revision() {
		return nil
	}
	stop := make(chan struct{})
	var once sync.Once
	return m.follow(s, stop, func(int) {
		if m.at >= s.Revision() {
			once.Do(func() { close(stop) })
		}
	})
}

// A thousand watchers get every change; one that does not read holds up nobody.
func TestThousandWatchers(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "state.db"))
	const watchers, changes = 1000, 100
	asleep := s.Watch("pods", 0)
	defer asleep.Close()
	var wg sync.WaitGroup
	for range watchers {
		w := s.Watch("pods", 0)
		wg.Go(func() {
			defer w.Close()
			for i := range changes {
				if e, err := w.Next(context.Background()); err != nil || e.Revision != uint64(i+1) {
					t.Errorf("change %d: %d, %v", i+1, e.Revision, err)
					return
				}
			}
		})
	}
	for i := range changes {
		if err := s.Create("pods", pod(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	if n := len(asleep.pending); n != 0 {
		t.Errorf("%d changes wait for a watcher that does not read", n)
	}
}

// killedWriter tells the test program to be the writer that is killed.
const killedWriter = "STORE_TEST_KILLED_WRITER"

func TestMain(m *testing.M) {
	if path := os.Getenv(killedWriter); path != "" {
		fmt.Fprintln(os.Stderr, writeUntilKilled(path))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// writeUntilKilled says each version that it was given, once the write is answered.
func writeUntilKilled(path string) error {
	s, err := Open(path)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	failed := make(chan error, 4)
	for w := range cap(failed) {
		wg.Go(func() {
			for {
				p := pod(fmt.Sprint(w))
				p.Annotations = map[string]string{"filler": strings.Repeat("x", 5000)}
				err := s.Update("pods", p)
				if apierrors.IsNotFound(err) {
					err = s.Create("pods", p)
				}
				if err != nil {
					failed <- err
					return
				}
				fmt.Printf("%d %s\n", w, p.ResourceVersion)
			}
		})
	}
	return <-failed
}

// A writer is killed again and again in the middle of its writes: what was answered
// is there, and versions never go back.
func TestKilledWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	highest, last := 0, make(map[string]int)
	for round := range 12 {
		cmd := exec.Command(os.Args[0])
		cmd.Env, cmd.Stderr = append(os.Environ(), killedWriter+"="+path), os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		before := highest
		lines := bufio.NewScanner(io.Reader(out))
		for n := 0; lines.Scan(); n++ {
			var name string
			var v int
			if _, err := fmt.Sscan(lines.Text(), &name, &v); err != nil {
				continue // the last line may be a part of one
			}
			if v <= before || v <= last[name] {
				t.Errorf("version %d of %s after %d, %d of all", v, name, last[name], before)
			}
			last[name], highest = v, max(highest, v)
			if n == 5+7*round {
				_ = cmd.Process.Kill() // the rest of what it said is read on
			}
		}
		_ = cmd.Wait()
		s, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if int(s.Revision()) < highest {
			t.Errorf("revision %d after %d was answered", s.Revision(), highest)
		}
		highest = int(s.Revision())
		for name, v := range last {
			var p corev1.Pod
			err := s.Get("pods", "default", name, &p)
			if have, _ := strconv.Atoi(p.ResourceVersion); err != nil || have < v || len(p.Annotations["filler"]) != 5000 {
				t.Errorf("%s is at %d and %d was answered: %v", name, have, v, err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
