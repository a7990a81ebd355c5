// SPDX-License-Identifier: Apache-2.0

package pressure

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Signal is a measure of what the node has left.
type Signal string

// The signals, by the names that the kubelet's configuration has for them.
const (
	Memory      Signal = "memory.available"
	NodeFS      Signal = "nodefs.available"
	NodeInodes  Signal = "nodefs.inodesFree"
	ImageFS     Signal = "imagefs.available"
	ImageInodes Signal = "imagefs.inodesFree"
	PIDs        Signal = "pid.available"
	// PodMemory is what all Pods together have left of the memory that is not reserved
	// for the machine.
	PodMemory Signal = "allocatableMemory.available"
)

// signals has them in the order in which thresholds are listed.
var signals = []Signal{Memory, PodMemory, NodeFS, NodeInodes, ImageFS, ImageInodes, PIDs}

// Resource that a signal is about, by the kubelet's word in messages.
func (s Signal) Resource() corev1.ResourceName {
	switch s {
	case Memory, PodMemory:
		return corev1.ResourceMemory
	case NodeFS, ImageFS:
		return corev1.ResourceEphemeralStorage
	case NodeInodes, ImageInodes:
		return "inodes"
	default:
		return "pids"
	}
}

// Condition of the node that a signal leads to.
func (s Signal) Condition() corev1.NodeConditionType {
	switch s {
	case Memory, PodMemory:
		return corev1.NodeMemoryPressure
	case PIDs:
		return corev1.NodePIDPressure
	default:
		return corev1.NodeDiskPressure
	}
}

// DefaultHard are the kubelet's hard thresholds.
func DefaultHard() map[string]string {
	return map[string]string{
		string(Memory): "100Mi", string(NodeFS): "10%", string(NodeInodes): "5%", string(ImageFS): "15%", string(ImageInodes): "5%",
	}
}

// Amount is absolute, or a part of the capacity.
type Amount struct {
	Quantity resource.Quantity
	Part     float64
}

// of is the amount for a capacity.
func (a Amount) of(capacity int64) resource.Quantity {
	if a.Part > 0 {
		return *resource.NewQuantity(int64(float64(capacity)*a.Part), resource.BinarySI)
	}
	return a.Quantity.DeepCopy()
}

// Threshold is what must be left.
type Threshold struct {
	Signal Signal
	Value  Amount
	// Grace is how long there may be less; 0: a hard threshold.
	Grace time.Duration
	Soft  bool
	// MinReclaim is how much more must be left before all is well again.
	MinReclaim Amount
}

// Config is the kubelet's configuration of eviction: amounts by signal.
type Config struct {
	Hard, Soft, SoftGrace, MinReclaim map[string]string
}

// Thresholds reads a configuration; it tells all errors at once. A hard threshold for
// memory holds for that of the Pods, too, as in a kubelet that enforces the allocatable
// resources (addAllocatableThresholds).
func (c Config) Thresholds() ([]Threshold, error) {
	var errs []error
	fail := func(key, signal string, err error) {
		errs = append(errs, fmt.Errorf("%s, %s: %w", key, signal, err))
	}
	for key, m := range map[string]map[string]string{
		"evictionHard": c.Hard, "evictionSoft": c.Soft, "evictionSoftGracePeriod": c.SoftGrace, "evictionMinimumReclaim": c.MinReclaim,
	} {
		for _, signal := range slices.Sorted(maps.Keys(m)) {
			if !slices.Contains(signals, Signal(signal)) {
				fail(key, signal, unknownSignal(signal))
			}
		}
	}
	var out []Threshold
	for _, kind := range []struct {
		key  string
		from map[string]string
	}{{"evictionHard", c.Hard}, {"evictionSoft", c.Soft}} {
		for _, signal := range signals {
			text, ok := kind.from[string(signal)]
			if !ok {
				continue
			}
			t := Threshold{Signal: signal, Soft: kind.key == "evictionSoft"}
			var off bool
			var err error
			if t.Value, off, err = amount(text); err != nil {
				fail(kind.key, string(signal), err)
			}
			if t.Soft {
				t.Grace, err = time.ParseDuration(c.SoftGrace[string(signal)])
				if err != nil || t.Grace < 0 {
					fail("evictionSoftGracePeriod", string(signal), errors.New("a soft threshold needs a duration here, such as 90s"))
				}
			}
			if text, ok := c.MinReclaim[string(signal)]; ok {
				if t.MinReclaim, _, err = amount(text); err != nil {
					fail("evictionMinimumReclaim", string(signal), err)
				}
			}
			if off {
				continue
			}
			out = append(out, t)
			if _, own := c.Hard[string(PodMemory)]; t.Signal == Memory && !t.Soft && !own {
				t.Signal = PodMemory
				out = append(out, t)
			}
		}
	}
	return out, errors.Join(errs...)
}

// unknownSignal says why there is no such signal here, and what to use instead.
func unknownSignal(signal string) error {
	switch signal {
	case "containerfs.available", "containerfs.inodesFree":
		return fmt.Errorf("not supported: containers' layers are on the images' filesystem; use %s or %s", ImageFS, ImageInodes)
	}
	return fmt.Errorf("unknown signal; there are %v", signals)
}

// amount reads 100Mi or 10%. 0% and 100% turn a threshold off, as in the kubelet.
func amount(text string) (a Amount, off bool, err error) {
	if number, ok := strings.CutSuffix(text, "%"); ok {
		part, err := strconv.ParseFloat(number, 64)
		if err != nil || part < 0 || part > 100 {
			return a, false, fmt.Errorf("%q: must be between 0%% and 100%%", text)
		}
		return Amount{Part: part / 100}, part == 0 || part == 100, nil
	}
	q, err := resource.ParseQuantity(text)
	if err != nil || q.Sign() < 0 {
		return a, false, fmt.Errorf("%q: must be a quantity such as 100Mi, or a part such as 10%%", text)
	}
	return Amount{Quantity: q}, false, nil
}

// Reserved is what a hard threshold keeps back of a capacity; 0 without one.
func Reserved(c Config, signal Signal, capacity int64) int64 {
	thresholds, _ := c.Thresholds() // whoever configures it has checked it
	for _, t := range thresholds {
		if t.Signal == signal && !t.Soft {
			q := t.Value.of(capacity)
			return q.Value()
		}
	}
	return 0
}
