// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// cost is what the start of one workload takes more than that of the other, in ms: the
// median of starts in turn.
func (b *bench) cost(ctx context.Context, p *inProcess, plain, costly workload) (float64, error) {
	var cost []float64
	for round := range b.rounds + 1 {
		without, _, _, err := p.measure(ctx, plain)
		if err != nil {
			return 0, err
		}
		time.Sleep(200 * time.Millisecond)
		with, _, _, err := p.measure(ctx, costly)
		if err != nil {
			return 0, err
		}
		time.Sleep(200 * time.Millisecond)
		if round > 0 {
			cost = append(cost, ms(with)-ms(without))
		}
	}
	return median(cost), nil
}

// users compares starts of Pods with users of their own with others.
func (b *bench) users(ctx context.Context, p *inProcess) error {
	for _, plain := range works() {
		costly := plain
		costly.more = func(pod *corev1.Pod) { pod.Spec.HostUsers = ptr.To(false) }
		cost, err := b.cost(ctx, p, plain, costly)
		if err != nil {
			return err
		}
		b.add(row{What: plain.name + " with hostUsers: false, more than without", Unit: "ms", Ours: cost})
	}
	return nil
}
