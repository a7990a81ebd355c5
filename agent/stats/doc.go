// SPDX-License-Identifier: Apache-2.0

// Package stats tells what the node and its Pods use and do: the kubelet's own
// HTTP endpoints (/stats/summary, /metrics and those below it, /pods, /configz)
// and the figures of metrics.k8s.io for kubectl top.
//
// It reads through the leaves cgroups, network, volumes and runtime, which it
// never changes, and hears from podmgr's hooks what happens. Nothing is polled:
// figures are read when somebody asks, and the reading before, which a rate needs,
// is kept for a minute. A node that nobody asks spends nothing on statistics but
// counters.
package stats
