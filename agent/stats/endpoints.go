// SPDX-License-Identifier: Apache-2.0

package stats

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	corev1 "k8s.io/api/core/v1"
)

// scrapesMax is how many scrapes of one endpoint are served at the same time.
const scrapesMax = 4

// Endpoints are the kubelet's own, by their paths.
func (r *Reader) Endpoints() map[string]http.Handler {
	scrape := func(c ...prometheus.Collector) http.Handler {
		registry := prometheus.NewRegistry()
		registry.MustRegister(c...)
		return r.metrics(registry)
	}
	return map[string]http.Handler{
		"/pods":             r.json(r.servePods),
		"/stats/summary":    r.json(r.serveSummary),
		"/configz":          r.json(r.serveConfigz),
		"/metrics":          r.metrics(r.own.registry),
		"/metrics/resource": scrape(newResources(r)),
		"/metrics/cadvisor": scrape(newCadvisor(r)),
		"/metrics/probes":   scrape(newProbes(r.own)),
	}
}

// metrics serves a registry in whatever form of exposition the client takes.
func (r *Reader) metrics(registry *prometheus.Registry) http.Handler {
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(r.cfg.Log.Handler(), slog.LevelWarn), ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: scrapesMax,
	})
}

// json serves what answer returns.
func (r *Reader) json(answer func(*http.Request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		v, err := answer(q)
		var data []byte
		if err == nil {
			data, err = json.Marshal(v)
		}
		if err != nil {
			http.Error(w, fmt.Sprintf("Internal Error: %v", err), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(data) // the client may be gone
	})
}

// servePods lists all Pods of the node, as the kubelet does.
func (r *Reader) servePods(*http.Request) (any, error) {
	pods, err := r.listPods()
	list := corev1.PodList{Items: pods}
	list.APIVersion, list.Kind = "v1", "PodList"
	if list.Items == nil {
		list.Items = []corev1.Pod{}
	}
	return list, err
}

func (r *Reader) serveSummary(q *http.Request) (any, error) {
	only := q.URL.Query().Get("only_cpu_and_memory")
	return r.Summary(q.Context(), only == "true" || only == "1")
}

func (r *Reader) serveConfigz(*http.Request) (any, error) {
	return r.cfg.Configz, nil
}
