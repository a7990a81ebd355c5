// SPDX-License-Identifier: Apache-2.0

package stats

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/minikubelet/minikubelet/cgroups"
)

// reading is one in which a cgroup "c" has used so much CPU time.
func reading(at time.Time, used time.Duration) *sample {
	return &sample{at: at, by: map[string]cgroups.CPUMemory{"c": {At: at, CPUNanos: uint64(used)}}}
}

// The first request waits for a second reading; the next ones use what is there;
// after a while without requests nothing is kept.
func TestReadingsAreTakenWhenAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s samples
		taken := 0
		s.init(func() *sample { taken++; return reading(time.Now(), time.Duration(taken)*time.Second) })
		pair := func() (time.Duration, time.Duration) {
			began := time.Now()
			before, now, err := s.pair(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return now.at.Sub(before.at), time.Since(began)
		}
		expect := func(when string, window, waited time.Duration, readings int) {
			t.Helper()
			if w, d := pair(); w != window || d != waited || taken != readings {
				t.Errorf("%s: window %v after %v, %d readings; want %v after %v, %d", when, w, d, taken, window, waited, readings)
			}
		}
		expect("first", windowMin, windowMin, 2)
		expect("at once", windowMin, 0, 2)
		time.Sleep(10 * time.Second)
		expect("later", 10*time.Second, 0, 3)
		time.Sleep(windowMax + time.Second)
		synctest.Wait()
		if s.now != nil || s.before != nil {
			t.Error("readings are kept though nobody asks")
		}
		expect("much later", windowMin, windowMin, 5)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		time.Sleep(2 * windowMax)
		if _, _, err := s.pair(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("given up: %v", err)
		}
	})
}

func TestRates(t *testing.T) {
	t0 := time.Unix(1000, 0)
	before, now := reading(t0, time.Second), reading(t0.Add(10*time.Second), 6*time.Second)
	if rate, window, ok := nanoCores(before, now, "c", t0.Add(-time.Hour)); rate != 5e8 || window != 10*time.Second || !ok {
		t.Errorf("half a core: %d over %v, %v", rate, window, ok)
	}
	nothing := &sample{at: t0, by: map[string]cgroups.CPUMemory{}}
	if rate, window, ok := nanoCores(nothing, now, "c", t0.Add(4*time.Second)); rate != 1e9 || window != 6*time.Second || !ok {
		t.Errorf("began in between: %d over %v, %v", rate, window, ok)
	}
	for name, got := range map[string]func() (uint64, time.Duration, bool){
		"not there":       func() (uint64, time.Duration, bool) { return nanoCores(before, now, "x", t0) },
		"seen only now":   func() (uint64, time.Duration, bool) { return nanoCores(nothing, now, "c", t0.Add(-time.Minute)) },
		"a new cgroup":    func() (uint64, time.Duration, bool) { return nanoCores(now, reading(t0.Add(time.Minute), 0), "c", t0) },
		"no time between": func() (uint64, time.Duration, bool) { return nanoCores(now, now, "c", t0) },
	} {
		if rate, _, ok := got(); ok {
			t.Errorf("%s: a rate of %d", name, rate)
		}
	}
}
