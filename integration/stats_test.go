// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	corev1 "k8s.io/api/core/v1"
	summary "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

const busyPod = `
apiVersion: v1
kind: Pod
metadata: {name: busy, labels: {app: busy}}
spec:
  terminationGracePeriodSeconds: 0
  initContainers:
  - {name: first, image: busybox, imagePullPolicy: IfNotPresent, command: ["true"]}
  containers:
  - name: burn
    image: busybox
    imagePullPolicy: IfNotPresent
    command: [sh, -c, "head -c 300000 /dev/zero >/written; x=$(head -c 8000000 /dev/zero | tr '\\0' x); echo begun; while :; do :; done"]
    resources: {limits: {cpu: 100m, memory: 128Mi}}
    readinessProbe: {exec: {command: ["true"]}, periodSeconds: 1}
  - name: idle
    image: busybox
    imagePullPolicy: IfNotPresent
    command: [sh, -c, "head -c 200000 /dev/zero >/v/f; exec sleep 10000"]
    volumeMounts: [{name: v, mountPath: /v}]
  volumes: [{name: v, emptyDir: {}}]
`

// families reads one of the node's expositions as Prometheus does.
func (n *node) families(path string) map[string]*dto.MetricFamily {
	n.t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	out, err := parser.TextToMetricFamilies(strings.NewReader(n.kubectl("get", "--raw", path)))
	if err != nil {
		n.t.Fatalf("%s: %v", path, err)
	}
	return out
}

// series finds a value by labels; false when there is none.
func series(f *dto.MetricFamily, labels map[string]string) (float64, bool) {
next:
	for _, m := range f.GetMetric() {
		have := make(map[string]string)
		for _, l := range m.GetLabel() {
			have[l.GetName()] = l.GetValue()
		}
		for name, value := range labels {
			if have[name] != value {
				continue next
			}
		}
		switch {
		case m.Counter != nil:
			return m.GetCounter().GetValue(), true
		case m.Gauge != nil:
			return m.GetGauge().GetValue(), true
		case m.Histogram != nil:
			return float64(m.GetHistogram().GetSampleCount()), true
		case m.Summary != nil:
			return float64(m.GetSummary().GetSampleCount()), true
		}
	}
	return 0, false
}

func TestKubectlTopAndTheNodesEndpoints(t *testing.T) {
	kubectlPath(t)
	n := startNode(t)
	n.apply("busy.yaml", busyPod)
	n.awaitPhase("busy", corev1.PodRunning)
	n.eventually("the memory is taken", func() bool {
		out, err := n.tryKubectl("", "logs", "busy-n1", "-c", "burn")
		return err == nil && strings.Contains(out, "begun")
	})

	n.expect(`NAME CPU\(cores\) MEMORY\(bytes\) \nbusy-n1 [1-9]\d*m [1-9]\d*Mi`, "top", "pod")
	n.expect(`busy-n1 burn [1-9]\d*m [1-9]\d*Mi default busy-n1 idle \d+m`, "top", "pod", "--containers", "--sort-by=cpu", "-A")
	n.expect(`busy-n1`, "top", "pod", "-l", "app=busy")
	n.expect(`No resources found`, "top", "pod", "-l", "app=other")
	n.expect(`n1 [1-9]\d*m \d+% [1-9]\d*Mi \d+%`, "top", "node")
	n.expect(`metrics.k8s.io/v1beta1 true PodMetrics`, "api-resources")

	n.checkSummary("/stats/summary")
	n.checkSummary("/api/v1/nodes/n1/proxy/stats/summary")
	n.checkExpositions("")
	n.checkExpositions("/api/v1/nodes/n1/proxy")

	var pods corev1.PodList
	if err := json.Unmarshal([]byte(n.kubectl("get", "--raw", "/pods")), &pods); err != nil || pods.Kind != "PodList" || len(pods.Items) != 1 {
		t.Errorf("/pods: %v, %s with %d items", err, pods.Kind, len(pods.Items))
	}
	if out := n.kubectl("get", "--raw", "/configz"); !regexp.MustCompile(`"kubeletconfig":\{.*"maxPods":110`).MatchString(out) {
		t.Errorf("/configz: %s", out)
	}
	if out := n.kubectl("get", "--raw", "/api/v1/nodes/n1/proxy/healthz"); out != "ok" {
		t.Errorf("healthz through the proxy: %s", out)
	}
	if out, err := n.tryKubectl("", "get", "--raw", "/api/v1/nodes/other/proxy/pods"); err == nil {
		t.Errorf("another node's endpoint: %s", out)
	}
}

// checkSummary looks for everything that an ordinary Pod uses.
func (n *node) checkSummary(path string) {
	n.t.Helper()
	var s summary.Summary
	ready := func() bool { // walks through the disk may come a request later
		if err := json.Unmarshal([]byte(n.kubectl("get", "--raw", path)), &s); err != nil {
			n.t.Fatalf("%s: %v", path, err)
		}
		return len(s.Pods) == 1 && len(s.Pods[0].Containers) == 2 && s.Pods[0].Containers[0].Rootfs != nil && len(s.Pods[0].VolumeStats) == 1
	}
	n.eventually("a complete summary", ready)
	p := s.Pods[0]
	burn, idle := p.Containers[0], p.Containers[1]
	for what, ok := range map[string]bool{
		"node":            s.Node.NodeName == "n1" && *s.Node.CPU.UsageNanoCores > 0 && *s.Node.Memory.WorkingSetBytes > 0 && *s.Node.Fs.CapacityBytes > 0,
		"images":          *s.Node.Runtime.ImageFs.UsedBytes > 100000,
		"tasks":           *s.Node.Rlimit.NumOfRunningProcesses > 1,
		"pod":             p.PodRef.Name == "busy-n1" && p.PodRef.Namespace == "default" && p.PodRef.UID != "" && !p.StartTime.IsZero(),
		"processor":       *burn.CPU.UsageNanoCores > 0 && *burn.CPU.UsageNanoCores < 1e9 && *burn.CPU.UsageCoreNanoSeconds > 0 && *p.CPU.UsageCoreNanoSeconds >= *burn.CPU.UsageCoreNanoSeconds,
		"memory":          *burn.Memory.WorkingSetBytes > 8000000 && *burn.Memory.RSSBytes > 7000000 && *burn.Memory.AvailableBytes < 128<<20,
		"no limit":        idle.Memory.AvailableBytes == nil,
		"network":         p.Network != nil && p.Network.Name == "eth0" && p.Network.RxBytes != nil,
		"writable layer":  *burn.Rootfs.UsedBytes >= 300000,
		"logs":            burn.Logs != nil && *burn.Logs.UsedBytes > 0,
		"volume":          p.VolumeStats[0].Name == "v" && *p.VolumeStats[0].UsedBytes >= 200000,
		"ephemeral":       *p.EphemeralStorage.UsedBytes >= 500000,
		"processes":       *p.ProcessStats.ProcessCount >= 2,
		"began with time": !burn.StartTime.IsZero() && !s.Node.StartTime.IsZero(),
	} {
		if !ok {
			data, _ := json.Marshal(s) // it came as JSON
			n.t.Errorf("%s: %s is wrong: %s", path, what, data)
		}
	}
}

// checkExpositions looks for series that dashboards are made of.
func (n *node) checkExpositions(root string) {
	n.t.Helper()
	container := map[string]string{"namespace": "default", "pod": "busy-n1", "container": "burn"}
	pod := map[string]string{"namespace": "default", "pod": "busy-n1"}
	for _, c := range []struct {
		path   string
		labels map[string]string
		least  map[string]float64
	}{
		{"/metrics/resource", container, map[string]float64{
			"container_cpu_usage_seconds_total": 0.01, "container_memory_working_set_bytes": 8e6, "container_start_time_seconds": 1e9,
		}},
		{"/metrics/resource", pod, map[string]float64{"pod_cpu_usage_seconds_total": 0.01, "pod_memory_working_set_bytes": 8e6}},
		{"/metrics/resource", nil, map[string]float64{"node_cpu_usage_seconds_total": 0.01, "node_memory_working_set_bytes": 8e6, "resource_scrape_error": 0}},
		{"/metrics/cadvisor", container, map[string]float64{
			"container_cpu_usage_seconds_total": 0.01, "container_memory_working_set_bytes": 8e6, "container_memory_rss": 7e6,
			"container_spec_memory_limit_bytes": 128 << 20, "container_processes": 1, "container_cpu_cfs_periods_total": 1, "container_oom_events_total": 0,
		}},
		{"/metrics/cadvisor", map[string]string{"pod": "busy-n1", "interface": "eth0"}, map[string]float64{"container_network_receive_bytes_total": 0}},
		{"/metrics/cadvisor", map[string]string{"id": "/"}, map[string]float64{"container_memory_usage_bytes": 8e6}},
		{"/metrics/cadvisor", nil, map[string]float64{"machine_memory_bytes": 8e6, "machine_cpu_cores": 1, "container_scrape_error": 0}},
		{"/metrics", nil, map[string]float64{
			"kubelet_running_pods": 1, "kubelet_pod_start_duration_seconds": 1, "kubelet_pod_start_sli_duration_seconds": 1,
			"go_goroutines": 1, "process_resident_memory_bytes": 1e6, "minikubelet_store_commits_total": 1, "minikubelet_build_info": 1,
		}},
		{"/metrics", map[string]string{"container_state": "running"}, map[string]float64{"kubelet_running_containers": 2}},
		{"/metrics", map[string]string{"operation_type": "start_container"}, map[string]float64{"kubelet_runtime_operations_duration_seconds": 3}},
		{"/metrics", map[string]string{"operation_type": "sandbox_network"}, map[string]float64{"kubelet_runtime_operations_total": 1}},
		{"/metrics", map[string]string{"resource": "pods", "group": "metrics.k8s.io"}, map[string]float64{"apiserver_request_total": 1, "apiserver_request_duration_seconds": 1}},
		{"/metrics", map[string]string{"pod": "busy-n1", "container": "burn"}, map[string]float64{"kube_pod_container_status_restarts_total": 0}},
		{"/metrics/probes", map[string]string{"pod": "busy-n1", "container": "burn", "probe_type": "Readiness", "result": "successful"}, map[string]float64{"prober_probe_total": 1}},
	} {
		families := n.families(root + c.path)
		for name, least := range c.least {
			if value, ok := series(families[name], c.labels); !ok || value < least {
				n.t.Errorf("%s%s: %s%v is %v, %v; want at least %v", root, c.path, name, c.labels, value, ok, least)
			}
		}
	}
}
