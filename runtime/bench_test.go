// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"context"
	"sync"
	"testing"
	"time"
)

// BenchmarkPod measures the phases of a Pod of one sandbox and some containers that end at once, in milliseconds for each phase.
// exit is from the end of the process, as the shim saw it, to OnChange.
func BenchmarkPod(b *testing.B) {
	for _, count := range []int{1, 3} {
		b.Run(map[int]string{1: "1 container", 3: "3 containers in parallel"}[count], func(b *testing.B) {
			n := newNode(b)
			n.create(n.sandbox()) // unpacks the image
			phases := map[string]time.Duration{}
			for b.Loop() {
				benchmarkPod(b, n, count, phases)
			}
			for phase, total := range phases {
				b.ReportMetric(float64(total.Microseconds())/1000/float64(b.N), phase+"-ms")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

func benchmarkPod(b *testing.B, n *node, count int, phases map[string]time.Duration) {
	ctx := context.Background()
	measure := func(phase string, fn func()) {
		begin := time.Now()
		fn()
		phases[phase] += time.Since(begin)
	}
	sandbox := n.sandbox()
	containers := make([]Container, count)
	for i := range containers {
		containers[i] = n.container(sandbox, "exit 0")
	}
	each := func(fn func(c Container) error) {
		var group sync.WaitGroup
		for _, c := range containers {
			group.Go(func() {
				if err := fn(c); err != nil {
					b.Error(err)
				}
			})
		}
		group.Wait()
	}
	measure("together-create", func() {
		var group sync.WaitGroup
		group.Go(func() { measure("sandbox-create", func() { n.create(sandbox) }) })
		each(func(c Container) error { _, err := n.runtime.Create(ctx, c); return err })
		group.Wait()
	})
	if err := n.runtime.Start(ctx, sandbox.ID); err != nil {
		b.Fatal(err)
	}
	measure("start", func() { each(func(c Container) error { return n.runtime.Start(ctx, c.ID) }) })
	for _, c := range containers {
		s := n.await(c.ID, StateExited)
		phases["exit"] += n.seen(c.ID).Sub(s.FinishedAt) / time.Duration(count)
	}
	for i := range containers {
		containers[i] = n.container(sandbox, "sleep 1000")
	}
	time.Sleep(3 * calm) // the clean-up after the exits is not part of what comes next
	measure("later-create", func() { each(func(c Container) error { _, err := n.runtime.Create(ctx, c); return err }) })
	each(func(c Container) error { return n.runtime.Start(ctx, c.ID) })
	measure("remove", func() { each(func(c Container) error { return n.runtime.Remove(ctx, c.ID) }) })
	measure("sandbox-remove", func() {
		if err := n.runtime.Remove(ctx, sandbox.ID); err != nil {
			b.Error(err)
		}
	})
}
