// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// throughput starts and removes Pods of w2 two at a time, with the agent and with
// the bare runtime.
func (b *bench) throughput(ctx context.Context, p *inProcess) error {
	const each, lanes = 10, 2
	w := works()[1]
	w.more = killed
	f, err := b.newFloor()
	if err != nil {
		return err
	}
	if _, _, _, err := p.measure(ctx, w); err != nil { // warm-up
		return err
	}
	lane := func(one func(context.Context) error) (float64, error) {
		began := time.Now()
		g, gctx := errgroup.WithContext(ctx)
		for range lanes {
			g.Go(func() error {
				for range each {
					if err := one(gctx); err != nil {
						return err
					}
				}
				return nil
			})
		}
		err := g.Wait()
		return float64(lanes*each) / time.Since(began).Seconds(), err
	}
	ours, err := lane(func(ctx context.Context) error { _, _, _, err := p.measure(ctx, w); return err })
	if err != nil {
		return err
	}
	low, err := lane(func(ctx context.Context) error { _, err := f.measure(ctx, w); return err })
	if err != nil {
		return err
	}
	b.add(row{What: "w2 started and removed a second, two at a time", Unit: "1/s", Beside: low, Ours: ours, Goal: "≥ 5"})
	return nil
}

// killed has a Pod's apps stopped by SIGKILL: one that is deleted as soon as it has
// started may get SIGTERM before its handler is there, and then waits for the end
// of its grace period.
func killed(pod *corev1.Pod) {
	pod.Spec.OS = &corev1.PodOS{Name: corev1.Linux}
	for i := range pod.Spec.Containers {
		pod.Spec.Containers[i].Lifecycle = &corev1.Lifecycle{StopSignal: ptr.To(corev1.SIGKILL)}
	}
}
