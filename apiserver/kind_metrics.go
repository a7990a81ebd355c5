// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metrics "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"github.com/minikubelet/minikubelet/store"
)

// metricsVerbs are what metrics-server has: nothing can be watched.
var metricsVerbs = []string{"get", "list"}

// nodeMetricsKind and podMetricsKind are in no store: they are measured when
// somebody asks.
func nodeMetricsKind(cfg *Config) *kind {
	return declare[metrics.NodeMetrics, metrics.NodeMetricsList](&kind{
		group: metrics.GroupName, version: "v1beta1", name: "nodes", kind: "NodeMetrics", verbs: metricsVerbs,
		types: metrics.AddToScheme,
		measure: func(ctx context.Context, _ string) ([]store.Object, error) {
			m, err := cfg.Stats.NodeMetrics(ctx)
			if err != nil {
				return nil, err
			}
			var node corev1.Node
			if err := cfg.Store.Get("nodes", "", cfg.NodeName, &node); err == nil {
				m.Labels = node.Labels
			}
			return []store.Object{m}, nil
		},
		columns: []metav1.TableColumnDefinition{
			column("Name", "string", 0, "Name of the node."),
			column("CPU", "string", 0, "CPU use."),
			column("Memory", "string", 0, "Working set."),
			column("Window", "string", 0, "Time that the CPU use was measured over."),
		},
		cells: func(o store.Object) []any {
			m := o.(*metrics.NodeMetrics)
			return []any{m.Name, m.Usage.Cpu().String(), m.Usage.Memory().String(), m.Window.Duration.Round(time.Millisecond).String()}
		},
	})
}

func podMetricsKind(cfg *Config) *kind {
	return declare[metrics.PodMetrics, metrics.PodMetricsList](&kind{
		group: metrics.GroupName, version: "v1beta1", name: "pods", kind: "PodMetrics", namespaced: true, verbs: metricsVerbs,
		types: metrics.AddToScheme,
		measure: func(ctx context.Context, namespace string) ([]store.Object, error) {
			pods, err := cfg.Stats.PodMetrics(ctx, namespace)
			if err != nil {
				return nil, err
			}
			out := make([]store.Object, len(pods))
			for i, m := range pods {
				out[i] = m
			}
			return out, nil
		},
		columns: []metav1.TableColumnDefinition{
			column("Name", "string", 0, "Name of the Pod."),
			column("CPU", "string", 0, "CPU use."),
			column("Memory", "string", 0, "Working set."),
			column("Window", "string", 0, "Time that the CPU use was measured over."),
		},
		cells: func(o store.Object) []any {
			m := o.(*metrics.PodMetrics)
			sum := corev1.ResourceList{}
			for _, c := range m.Containers {
				for name, q := range c.Usage {
					total := sum[name]
					total.Add(q)
					sum[name] = total
				}
			}
			return []any{m.Name, sum.Cpu().String(), sum.Memory().String(), m.Window.Duration.Round(time.Millisecond).String()}
		},
	})
}
