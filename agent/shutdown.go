// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/minikubelet/minikubelet/agent/logind"
	"github.com/minikubelet/minikubelet/agent/systemd"
	"github.com/minikubelet/minikubelet/podmgr"
	"github.com/minikubelet/minikubelet/podmgr/pressure"
)

// What --shutdown-pods gives Pods when nothing else is configured.
const (
	shutdownTime         = 30 * time.Second
	shutdownTimeCritical = 10 * time.Second
)

// ShutdownClass is an entry of shutdownGracePeriodByPodPriority, as the kubelet's
// configuration has it.
type ShutdownClass struct {
	Priority                   int32 `json:"priority"`
	ShutdownGracePeriodSeconds int64 `json:"shutdownGracePeriodSeconds"`
}

// shutdownClasses are the times that Pods have when the node shuts down; none when
// they are not ended then. complete has checked them.
func (c *Config) shutdownClasses() []pressure.ShutdownClass {
	if len(c.ShutdownGracePeriodByPodPriority) > 0 {
		var classes []pressure.ShutdownClass
		for _, class := range c.ShutdownGracePeriodByPodPriority {
			classes = append(classes, pressure.ShutdownClass{Priority: class.Priority, Grace: time.Duration(class.ShutdownGracePeriodSeconds) * time.Second})
		}
		return classes
	}
	total, critical := duration(c.ShutdownGracePeriod), duration(c.ShutdownGracePeriodCriticalPods)
	if total == 0 && c.ShutdownPods {
		total, critical = shutdownTime, shutdownTimeCritical
	}
	return pressure.ShutdownClasses(total, critical)
}

// checkShutdown is the part of complete that is about the node's shutdown; the
// rules are the kubelet's.
func (c *Config) checkShutdown() error {
	var errs []error
	for name, v := range map[string]string{
		"shutdownGracePeriod": c.ShutdownGracePeriod, "shutdownGracePeriodCriticalPods": c.ShutdownGracePeriodCriticalPods,
	} {
		d, err := parseDuration(v)
		if err != nil || d < 0 || d > 0 && d < time.Second {
			errs = append(errs, fmt.Errorf("%s %q: must be 0 or a duration of at least 1s, such as 30s", name, v))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if duration(c.ShutdownGracePeriodCriticalPods) > duration(c.ShutdownGracePeriod) {
		errs = append(errs, fmt.Errorf("shutdownGracePeriodCriticalPods %s: must not be longer than shutdownGracePeriod, of which it is a part", c.ShutdownGracePeriodCriticalPods))
	}
	if len(c.ShutdownGracePeriodByPodPriority) > 0 && duration(c.ShutdownGracePeriod) > 0 {
		errs = append(errs, errors.New("shutdownGracePeriodByPodPriority: leave out either this or shutdownGracePeriod"))
	}
	seen := map[int32]bool{}
	for _, class := range c.ShutdownGracePeriodByPodPriority {
		if class.ShutdownGracePeriodSeconds < 0 || seen[class.Priority] {
			errs = append(errs, fmt.Errorf("shutdownGracePeriodByPodPriority, priority %d: must be there once and have 0 seconds or more", class.Priority))
		}
		seen[class.Priority] = true
	}
	return errors.Join(errs...)
}

// ShutdownClassesOf reads the flag's form, priority=seconds.
func ShutdownClassesOf(flag map[int32]int64) []ShutdownClass {
	var classes []ShutdownClass
	for _, priority := range slices.Sorted(maps.Keys(flag)) {
		classes = append(classes, ShutdownClass{priority, flag[priority]})
	}
	return classes
}

// machineTime bounds what Pods have when the machine goes down and nothing is
// configured for that; stopTime is what the agent itself may take.
const (
	machineTime = 90 * time.Second // as systemd gives it to services
	stopTime    = 30 * time.Second
)

// endNode does what is to be done with the Pods before the agent ends, and says
// whether the machine goes down.
func (a *Agent) endNode(ctx context.Context, unit *systemd.Unit) (down bool) {
	down = systemd.GoingDown(ctx)
	classes := a.cfg.shutdownClasses()
	inOrder := a.cfg.ShutdownPods || a.shuttingDown.Load() || down && len(classes) > 0
	atMost := stopTime
	if inOrder {
		atMost += pressure.ShutdownTime(classes)
	}
	if down {
		atMost += machineTime
	}
	if err := unit.Stopping(atMost); err != nil {
		a.log.Warn("systemd may not wait for the node's end", "err", err)
	}
	switch {
	case inOrder:
		a.shutDown(ctx)
	case down:
		a.log.Info("the machine goes down; running Pods end, and run again at the next boot")
	default:
		a.log.Info("stopping; running Pods go on running")
	}
	return down
}

// closeServing is Close after Run. When the machine goes down nothing is left running.
func (a *Agent) closeServing(down bool) error {
	if !down {
		return a.Close()
	}
	var pods []*corev1.Pod
	err := a.each(func(pod *corev1.Pod) error { pods = append(pods, pod); return nil })
	err = errors.Join(err, a.Close())
	a.manager.Load().EndWithMachine(pods, machineTime)
	return err
}

// shutDown ends the node's Pods in the order of their priorities, each class within
// its time. New Pods are refused from then on.
func (a *Agent) shutDown(ctx context.Context) {
	a.shutting.Lock() // whoever comes second waits for the first
	defer a.shutting.Unlock()
	classes := a.cfg.shutdownClasses()
	if !a.shuttingDown.CompareAndSwap(false, true) || len(classes) == 0 {
		return
	}
	a.log.Info("the node is shutting down; its Pods end", "at most", pressure.ShutdownTime(classes))
	m := a.manager.Load()
	m.NodeEvent(corev1.EventTypeNormal, "Shutdown", "Shutdown manager detected shutdown event")
	if err := a.putNode(); err != nil {
		a.log.Warn("cannot store the node's status", "err", err)
	}
	if err := m.ShutDown(ctx, classes); err != nil {
		a.log.Error("the node's shutdown is incomplete", "err", err)
	}
}

// reopen takes Pods again after a shutdown that was called off.
func (a *Agent) reopen() {
	a.shutting.Lock()
	defer a.shutting.Unlock()
	a.shuttingDown.Store(false)
	m := a.manager.Load()
	m.Reopen()
	m.NodeEvent(corev1.EventTypeNormal, "Shutdown", "Shutdown manager detected shutdown cancellation")
	if err := a.putNode(); err != nil {
		a.log.Warn("cannot store the node's status", "err", err)
	}
}

// followLogind keeps the machine from going down before the Pods have ended.
func (a *Agent) followLogind(ctx context.Context) {
	classes := a.cfg.shutdownClasses()
	if len(classes) == 0 {
		return
	}
	err := logind.Follow(ctx, logind.Config{
		Need: pressure.ShutdownTime(classes), Prepare: a.shutDown, CalledOff: a.reopen, Log: a.log,
	})
	if errors.Is(err, logind.ErrNone) {
		a.log.Info("a shutdown of the machine does not wait for Pods; with --shutdown-pods and a service manager that waits for the agent they end in order all the same", "because", err)
	} else if err != nil {
		a.log.Warn("a shutdown of the machine does not wait for Pods", "err", err)
	}
}

// startAnew says whether a manifest's Pod is to be made anew at the agent's start,
// because the node's shutdown ended it, as the kubelet does with static Pods.
func (a *Agent) startAnew(pod *corev1.Pod) bool { return podmgr.EndedByShutdown(a.store, pod) }

// duration is a checked one; zero when empty.
func duration(s string) time.Duration {
	d, _ := parseDuration(s)
	return d
}

func parseDuration(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	return time.ParseDuration(s)
}
