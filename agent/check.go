// SPDX-License-Identifier: Apache-2.0

package agent

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/minikubelet/minikubelet/agent/check"
)

// Check looks at what this machine offers and lacks for an agent with this
// configuration. It changes nothing and needs no daemon; without root most of it
// can only be found lacking.
func Check(cfg Config) ([]check.Result, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	capacity, allocatable, err := cfg.nodeResources()
	if err != nil {
		return nil, err
	}
	return check.Machine(check.Config{
		DataDir: cfg.DataDir, RunDir: cfg.RunDir, LogDir: cfg.LogDir, Runc: cfg.Runc, Containerd: cfg.ContainerdAddress,
		Capacity: amounts(capacity), Allocatable: amounts(allocatable),
	}), nil
}

// amounts spells resources for people: memory rounded, huge pages only when set
// aside.
func amounts(list corev1.ResourceList) string {
	shown := map[string]string{}
	for name, q := range list {
		switch {
		case q.IsZero():
		case name == corev1.ResourceMemory, name == corev1.ResourceEphemeralStorage:
			shown[string(name)] = Bytes(q.Value())
		default:
			shown[string(name)] = q.String()
		}
	}
	return formatValues(shown)
}
