// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"io"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/minikubelet/minikubelet/podmgr"
	"github.com/minikubelet/minikubelet/runtime/crilog"
)

// ownNode is the node of a run without a daemon.
type ownNode struct{ agent *Agent }

func (n ownNode) cgroupValues(pod *corev1.Pod) map[string]string {
	values, err := n.agent.cgroups.ReadPodValues(string(pod.UID))
	if err != nil {
		return nil
	}
	return values
}

func (n ownNode) ran(_ *corev1.Pod, id string) time.Duration {
	seen, err := n.agent.runtime.Status(id)
	if err != nil || seen.StartedAt.IsZero() {
		return 0
	}
	return seen.FinishedAt.Sub(seen.StartedAt)
}

func (n ownNode) output(pod *corev1.Pod, container string, attempt int, done <-chan struct{}, stdout, stderr io.Writer) error {
	path := podmgr.LogFile(n.agent.cfg.LogDir, pod, container, attempt)
	return crilog.Copy(context.Background(), path, crilog.Options{Follow: true, Done: done}, crilog.Format{}, stdout, stderr)
}

func (n ownNode) drainTime() time.Duration { return 5 * time.Second }
