// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/minikubelet/minikubelet/cgroups"
	"github.com/minikubelet/minikubelet/podmgr"
	"github.com/minikubelet/minikubelet/podmgr/pressure"
)

// evictionConfig is what is configured, with the kubelet's defaults.
func (c *Config) evictionConfig() pressure.Config {
	hard := c.EvictionHard
	if hard == nil {
		hard = pressure.DefaultHard()
	}
	return pressure.Config{Hard: hard, Soft: c.EvictionSoft, SoftGrace: c.EvictionSoftGracePeriod, MinReclaim: c.EvictionMinimumReclaim}
}

// checkEviction is the part of complete that is about the node's pressure.
func (c *Config) checkEviction() error {
	_, err := c.evictionConfig().Thresholds()
	errs := []error{err}
	if d, err := parseDuration(c.EvictionPressureTransitionPeriod); err != nil || d < 0 {
		errs = append(errs, fmt.Errorf("evictionPressureTransitionPeriod %q: must be a duration such as 5m", c.EvictionPressureTransitionPeriod))
	}
	if c.EvictionMaxPodGracePeriod < 0 {
		errs = append(errs, fmt.Errorf("evictionMaxPodGracePeriod %d: must be 0 or more seconds", c.EvictionMaxPodGracePeriod))
	}
	if h, l := c.ImageGCHighThresholdPercent, c.ImageGCLowThresholdPercent; l < 0 || h > 100 || l >= h {
		errs = append(errs, fmt.Errorf("imageGCHighThresholdPercent %d, imageGCLowThresholdPercent %d: must be between 0 and 100, the low one below the high one", h, l))
	}
	return errors.Join(errs...)
}

// pressure is what the manager needs to see to the node's pressure.
func (a *Agent) pressure() (podmgr.Pressure, error) {
	thresholds, err := a.cfg.evictionConfig().Thresholds()
	if err != nil {
		return podmgr.Pressure{}, err
	}
	machine, err := cgroups.NodeCapacity()
	reserved := quantity(a.cfg.ReservedMemory)
	return podmgr.Pressure{
		Thresholds: thresholds,
		PodMemory:  max(machine.MemoryBytes-reserved.Value(), 0),
		Transition: duration(a.cfg.EvictionPressureTransitionPeriod),
		MaxGrace:   time.Duration(a.cfg.EvictionMaxPodGracePeriod) * time.Second,
		NodeDir:    a.cfg.podsDir(), ImageDir: a.cfg.DataDir,
		ReclaimImages: a.reclaimImages,
		Changed: func() {
			if err := a.putNode(); err != nil {
				a.log.Warn("cannot store the node's status", "err", err)
			}
		},
	}, err
}

// ended leaves the Pods of manifests and of a run alone: those go with their files, and
// with their run.
func (c *Config) ended() podmgr.Ended {
	return podmgr.Ended{Max: c.TerminatedPodGCThreshold, Others: func(pod *corev1.Pod) bool {
		for _, by := range []string{annotationMirror, annotationRun, annotationForeground} {
			if pod.Annotations[by] != "" {
				return true
			}
		}
		return false
	}}
}

// presses are the conditions of pressure among those that are True.
func presses(conditions []corev1.NodeCondition) []corev1.NodeConditionType {
	var out []corev1.NodeConditionType
	for _, c := range conditions {
		if c.Status == corev1.ConditionTrue && strings.HasSuffix(string(c.Type), "Pressure") {
			out = append(out, c.Type)
		}
	}
	return out
}

// pressureTaints are the node's taints with those for its conditions of pressure, and
// only those, as kube-controller-manager's node lifecycle controller sets them.
func pressureTaints(taints []corev1.Taint, conditions []corev1.NodeCondition) []corev1.Taint {
	for _, c := range conditions {
		var key string
		switch c.Type {
		case corev1.NodeMemoryPressure:
			key = corev1.TaintNodeMemoryPressure
		case corev1.NodeDiskPressure:
			key = corev1.TaintNodeDiskPressure
		case corev1.NodePIDPressure:
			key = corev1.TaintNodePIDPressure
		default:
			continue
		}
		at := slices.IndexFunc(taints, func(t corev1.Taint) bool { return t.Key == key && t.Effect == corev1.TaintEffectNoSchedule })
		switch {
		case c.Status == corev1.ConditionTrue && at < 0:
			taints = append(taints, corev1.Taint{Key: key, Effect: corev1.TaintEffectNoSchedule})
		case c.Status != corev1.ConditionTrue && at >= 0:
			taints = slices.Delete(taints, at, at+1)
		}
	}
	return taints
}

// pressureConditions are the node's conditions of pressure, in the kubelet's words.
// Those that an agent before has left stay until the node was looked at.
func (a *Agent) pressureConditions(before []corev1.NodeCondition) []corev1.NodeCondition {
	var now []corev1.NodeConditionType
	if m := a.manager.Load(); m != nil {
		var known bool
		if now, known = m.Conditions(); !known {
			now = presses(before)
		}
	}
	var out []corev1.NodeCondition
	for _, c := range []struct {
		kind                                     corev1.NodeConditionType
		reason, message, goodReason, goodMessage string
	}{
		{corev1.NodeMemoryPressure, "KubeletHasInsufficientMemory", "kubelet has insufficient memory available", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"},
		{corev1.NodeDiskPressure, "KubeletHasDiskPressure", "kubelet has disk pressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"},
		{corev1.NodePIDPressure, "KubeletHasInsufficientPID", "kubelet has insufficient PID available", "KubeletHasSufficientPID", "kubelet has sufficient PID available"},
	} {
		condition := corev1.NodeCondition{Type: c.kind, Status: corev1.ConditionFalse, Reason: c.goodReason, Message: c.goodMessage}
		if slices.Contains(now, c.kind) {
			condition.Status, condition.Reason, condition.Message = corev1.ConditionTrue, c.reason, c.message
		}
		out = append(out, condition)
	}
	return out
}
