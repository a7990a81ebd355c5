// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

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
	return podmgr.Pressure{
		Thresholds: thresholds,
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

// pressureConditions are the node's conditions of pressure, in the kubelet's words.
func (a *Agent) pressureConditions() []corev1.NodeCondition {
	var now []corev1.NodeConditionType
	if m := a.manager.Load(); m != nil {
		now = m.Conditions()
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
