// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"path/filepath"

	corev1 "k8s.io/api/core/v1"

	"github.com/minikubelet/minikubelet/agent/stats"
)

// newStats makes the reader of figures; podmgr's hooks tell it what happens.
func (a *Agent) newStats() *stats.Reader {
	images := filepath.Join(a.cfg.DataDir, "containerd")
	if a.cfg.ContainerdAddress != "" {
		images = a.cfg.DataDir // another containerd's directory is not known
	}
	return stats.New(stats.Config{
		Store: a.store, Cgroups: a.cgroups, Runtime: a.runtime, Volumes: a.volumes, Images: a.images, Network: a.network,
		NodeName: a.cfg.NodeName, DataDir: a.cfg.DataDir, ImageDir: images, PodsDir: a.cfg.podsDir(), LogDir: a.cfg.LogDir,
		Version: a.cfg.Version, KubernetesVersion: KubernetesVersion(), Configz: a.cfg.configz(), Log: a.log,
	})
}

// told passes a Pod's status on to whoever listens.
func (a *Agent) told(pod *corev1.Pod, status *corev1.PodStatus) {
	a.stats.OnStatus(pod, status)
	if a.hooks.OnStatus != nil {
		a.hooks.OnStatus(pod, status)
	}
}

// configz is the configuration as /configz shows it: what a kubelet has, too, by
// the kubelet's names, and all of ours. It has paths of files with secrets, and
// no secrets.
func (c *Config) configz() map[string]any {
	return map[string]any{
		"kubeletconfig": map[string]any{
			"kind": "KubeletConfiguration", "apiVersion": "kubelet.config.k8s.io/v1beta1",
			"staticPodPath": c.Manifests, "maxPods": c.MaxPods, "podPidsLimit": c.PodPidsLimit, "cgroupRoot": c.CgroupRoot, "cgroupDriver": "cgroupfs",
			"containerLogMaxSize": c.LogMaxSize, "containerLogMaxFiles": c.LogMaxFiles, "podLogsDir": c.LogDir,
			"systemReserved": map[string]string{"cpu": c.ReservedCPU, "memory": c.ReservedMemory},
		},
		"minikubelet": c,
	}
}
