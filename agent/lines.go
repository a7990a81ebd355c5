// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/minikubelet/minikubelet/cgroups"
	"github.com/minikubelet/minikubelet/runtime/image"
)

// prefixed writes whole lines, each with its container's name before it.
type prefixed struct {
	console                *Console
	pod, container, stream string
	rest                   []byte
}

func (p *prefixed) Write(data []byte) (int, error) {
	p.rest = append(p.rest, data...)
	for {
		i := bytes.IndexByte(p.rest, '\n')
		if i < 0 {
			return len(data), nil
		}
		p.emit(string(p.rest[:i]))
		p.rest = p.rest[i+1:]
	}
}

// flush writes a last line without an end.
func (p *prefixed) flush() {
	if len(p.rest) > 0 {
		p.emit(string(p.rest))
		p.rest = nil
	}
}

func (p *prefixed) emit(text string) {
	c := p.console
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.JSON {
		c.say(line{Type: "log", Pod: p.pod, Container: p.container, Stream: p.stream, Message: text})
		return
	}
	c.clearBar()
	name := p.container
	if len(c.pods) > 1 {
		name = p.pod + "/" + name
	}
	fmt.Fprintf(c.Output, "[%s] %s\n", name, text)
}

// podResources is what a Pod asks for, as a person wants to see it.
type podResources struct {
	QOSClass corev1.PodQOSClass `json:"qosClass"`
	Requests map[string]string  `json:"effectiveRequests"`
	Limits   map[string]string  `json:"effectiveLimits"`
}

func resourcesOf(pod *corev1.Pod) podResources {
	effective := cgroups.EffectiveOf(pod)
	return podResources{QOSClass: cgroups.QOSClass(pod), Requests: plain(effective.Requests), Limits: plain(effective.Limits)}
}

func plain(list corev1.ResourceList) map[string]string {
	out := make(map[string]string, len(list))
	for name, q := range list {
		out[string(name)] = q.String()
	}
	return out
}

func (r podResources) String() string {
	return fmt.Sprintf("QoS class %s, effective requests %s, limits %s", r.QOSClass, orNone(r.Requests), orNone(r.Limits))
}

func orNone(values map[string]string) string {
	if len(values) == 0 {
		return "none"
	}
	return formatValues(values)
}

func formatValues(values map[string]string) string {
	var parts []string
	for _, key := range slices.Sorted(maps.Keys(values)) {
		parts = append(parts, key+"="+values[key])
	}
	return strings.Join(parts, " ")
}

// barWidth is that of the bar itself, in characters.
const barWidth = 30

// Bar draws a pull's progress in one line without an end of line.
func Bar(ref string, p image.Progress) string {
	filled := 0
	if p.TotalBytes > 0 {
		filled = int(min(p.Bytes, p.TotalBytes) * barWidth / p.TotalBytes)
	}
	return fmt.Sprintf("%s [%s%s] %s / %s, layers %d/%d", ref, strings.Repeat("=", filled), strings.Repeat(" ", barWidth-filled),
		Bytes(p.Bytes), Bytes(p.TotalBytes), p.Layers, p.TotalLayers)
}

// Bytes writes a size in powers of 1024.
func Bytes(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, suffix := float64(n)/unit, "KiB"
	for _, s := range []string{"MiB", "GiB", "TiB"} {
		if value < unit {
			break
		}
		value, suffix = value/unit, s
	}
	return fmt.Sprintf("%.1f %s", value, suffix)
}
