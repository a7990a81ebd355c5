// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// Labels on container records. The first group are the names that Kubernetes' container runtimes use, so that other tools recognise
// the containers; the others are ours.
const (
	LabelPodName       = "io.kubernetes.pod.name"
	LabelPodNamespace  = "io.kubernetes.pod.namespace"
	LabelPodUID        = "io.kubernetes.pod.uid"
	LabelContainerName = "io.kubernetes.container.name"
	labelCRIKind       = "io.cri-containerd.kind"

	LabelKind       = "minikubelet/kind"
	LabelAttempt    = "minikubelet/attempt"
	labelImageID    = "minikubelet/image-id"
	labelStopSignal = "minikubelet/stop-signal"
	labelCgroup     = "minikubelet/cgroup"
	labelUser       = "minikubelet/user"
	labelStartedAt  = "minikubelet/started-at"
	labelFinishedAt = "minikubelet/finished-at"
	labelExitCode   = "minikubelet/exit-code"
	labelOOMKilled  = "minikubelet/oom-killed"
	labelMessage    = "minikubelet/message"
)

// maxMessage keeps a message, in bytes, well below containerd's limit of 4096 for a label's name and value together.
const maxMessage = 2048

// identityLabels are the labels a record gets when it is made.
func identityLabels(s Status) map[string]string {
	labels := maps.Clone(s.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	criKind := "container"
	if s.Kind == KindSandbox {
		criKind = "sandbox"
	}
	maps.Copy(labels, map[string]string{
		LabelPodName: s.Pod.Name, LabelPodNamespace: s.Pod.Namespace, LabelPodUID: s.Pod.UID, LabelContainerName: s.Name,
		labelCRIKind: criKind, LabelKind: string(s.Kind), LabelAttempt: strconv.Itoa(s.Attempt),
		labelImageID: s.ImageID, labelStopSignal: s.StopSignal, labelCgroup: s.CgroupsPath,
	})
	if s.User != nil {
		if text, err := json.Marshal(s.User); err == nil && len(text) <= maxMessage {
			labels[labelUser] = string(text)
		}
	}
	for name, value := range labels {
		if value == "" {
			delete(labels, name)
		}
	}
	return labels
}

// exitLabels are the labels that make an exit durable. They are written together, in one transaction.
func exitLabels(s Status) map[string]string {
	labels := map[string]string{
		labelFinishedAt: formatTime(s.FinishedAt),
		labelExitCode:   strconv.Itoa(int(s.ExitCode)),
	}
	if !s.StartedAt.IsZero() {
		labels[labelStartedAt] = formatTime(s.StartedAt)
	}
	if s.OOMKilled {
		labels[labelOOMKilled] = "true"
	}
	if s.Message != "" {
		labels[labelMessage] = s.Message
	}
	return labels
}

// statusOf reads a container record. Without an exit on record the state is StateUnknown, until somebody looked for the task.
func statusOf(c containers.Container) (Status, error) {
	l := c.Labels
	s := Status{
		ID: c.ID, SandboxID: c.SandboxID, Image: c.Image, CreatedAt: c.CreatedAt, State: StateUnknown, Labels: l,
		Pod:  Pod{Namespace: l[LabelPodNamespace], Name: l[LabelPodName], UID: l[LabelPodUID]},
		Kind: Kind(l[LabelKind]), Name: l[LabelContainerName],
		ImageID: l[labelImageID], StopSignal: l[labelStopSignal], CgroupsPath: l[labelCgroup],
		OOMKilled: l[labelOOMKilled] == "true", Message: l[labelMessage],
	}
	if s.SandboxID == s.ID {
		s.SandboxID = "" // a sandbox itself
	}
	if text, ok := l[labelUser]; ok {
		s.User = new(specs.User)
		if json.Unmarshal([]byte(text), s.User) != nil {
			s.User = nil
		}
	}
	var err error
	if s.Attempt, err = strconv.Atoi(l[LabelAttempt]); err != nil {
		return s, fmt.Errorf("container %s: label %s: %w", c.ID, LabelAttempt, err)
	}
	if v, ok := l[labelStartedAt]; ok {
		if s.StartedAt, err = time.Parse(time.RFC3339Nano, v); err != nil {
			return s, fmt.Errorf("container %s: label %s: %w", c.ID, labelStartedAt, err)
		}
	}
	v, ok := l[labelFinishedAt]
	if !ok {
		return s, nil
	}
	if s.FinishedAt, err = time.Parse(time.RFC3339Nano, v); err != nil {
		return s, fmt.Errorf("container %s: label %s: %w", c.ID, labelFinishedAt, err)
	}
	code, err := strconv.ParseInt(l[labelExitCode], 10, 32)
	if err != nil {
		return s, fmt.Errorf("container %s: label %s: %w", c.ID, labelExitCode, err)
	}
	s.ExitCode, s.State = int32(code), StateExited
	return s, nil
}

func formatTime(t time.Time) string {
	return t.UTC().Format(time.RFC3339Nano)
}

// shorten cuts a message to what fits a label, at a character's boundary.
func shorten(message string) string {
	if len(message) <= maxMessage {
		return message
	}
	return strings.ToValidUTF8(message[:maxMessage], "") + "…"
}
