// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// nodeLost is the reason that a node controller gives to Pods of a node that is
// out of reach.
const nodeLost = "NodeLost"

// Summary is what kubectl's table shows of a Pod: the STATUS word, how many of how
// many containers are ready, and the restarts. The rules are those of the API
// server's printers.
func Summary(pod *corev1.Pod) (status string, ready, total int, restarts int) {
	status = string(pod.Status.Phase)
	if pod.Status.Reason != "" {
		status = pod.Status.Reason
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Reason == corev1.PodReasonSchedulingGated {
			status = corev1.PodReasonSchedulingGated
		}
	}
	sidecars := map[string]bool{}
	for _, c := range pod.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			sidecars[c.Name] = true
		}
	}
	total = len(pod.Spec.Containers) + len(sidecars)

	initWord, ready, restarts, sidecarRestarts := summarizeInits(pod, sidecars)
	if initWord != "" {
		status = initWord
	}
	if initWord == "" || hasCondition(pod, corev1.PodInitialized) {
		word, up, again := summarizeApps(pod, status)
		status, ready, restarts = word, ready+up, sidecarRestarts+again
	}
	if pod.DeletionTimestamp != nil {
		switch {
		case pod.Status.Reason == nodeLost:
			status = "Unknown"
		case !terminal(pod.Status.Phase):
			status = "Terminating"
		}
	}
	return status, ready, total, restarts
}

// summarizeInits looks at init containers up to the first that is not done; word
// is empty when all are.
func summarizeInits(pod *corev1.Pod, sidecars map[string]bool) (word string, ready, restarts, sidecarRestarts int) {
	for i, c := range pod.Status.InitContainerStatuses {
		restarts += int(c.RestartCount)
		if sidecars[c.Name] {
			sidecarRestarts += int(c.RestartCount)
		}
		t, w := c.State.Terminated, c.State.Waiting
		switch {
		case t != nil && t.ExitCode == 0:
			continue
		case sidecars[c.Name] && c.Started != nil && *c.Started:
			if c.Ready {
				ready++
			}
			continue
		case t != nil:
			return "Init:" + endWord(t), ready, restarts, sidecarRestarts
		case w != nil && w.Reason != "" && w.Reason != podInitializing:
			return "Init:" + w.Reason, ready, restarts, sidecarRestarts
		}
		return fmt.Sprintf("Init:%d/%d", i, len(pod.Spec.InitContainers)), ready, restarts, sidecarRestarts
	}
	return "", ready, restarts, sidecarRestarts
}

// summarizeApps has the word of the first app container that has one.
func summarizeApps(pod *corev1.Pod, status string) (word string, ready, restarts int) {
	word = status
	running, failed := false, ""
	for i := len(pod.Status.ContainerStatuses) - 1; i >= 0; i-- {
		c := &pod.Status.ContainerStatuses[i]
		restarts += int(c.RestartCount)
		t, w := c.State.Terminated, c.State.Waiting
		switch {
		case w != nil && w.Reason != "":
			word = w.Reason
		case t != nil:
			word = endWord(t)
			if t.ExitCode != 0 {
				failed = word
			}
		case c.Ready && c.State.Running != nil:
			running = true
			ready++
		}
	}
	if word == "Completed" {
		switch {
		case running && hasCondition(pod, corev1.PodReady):
			word = "Running"
		case failed != "":
			word = failed
		case running:
			word = "NotReady"
		}
	}
	return word, ready, restarts
}

func endWord(t *corev1.ContainerStateTerminated) string {
	switch {
	case t.Reason != "":
		return t.Reason
	case t.Signal != 0:
		return fmt.Sprintf("Signal:%d", t.Signal)
	default:
		return fmt.Sprintf("ExitCode:%d", t.ExitCode)
	}
}

func hasCondition(pod *corev1.Pod, t corev1.PodConditionType) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == t && c.Status == corev1.ConditionTrue {
			return true
		}
	}
	return false
}
