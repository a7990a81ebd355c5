// SPDX-License-Identifier: Apache-2.0

package cgroups

import (
	"bufio"
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Capacity is what the machine has.
type Capacity struct {
	CPUs        int
	MemoryBytes int64
	// HugePageBytes is the memory set aside for huge pages, by page size in bytes.
	HugePageBytes map[int64]int64
}

// NodeCapacity reads the number of CPUs that are on line, MemTotal of /proc/meminfo
// and the reserved huge pages.
func NodeCapacity() (Capacity, error) {
	meminfo, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return Capacity{}, fmt.Errorf("node capacity: %w", err)
	}
	total, err := parseMemTotal(meminfo)
	if err != nil {
		return Capacity{}, fmt.Errorf("node capacity: /proc/meminfo: %w", err)
	}
	c := Capacity{CPUs: onlineCPUs(), MemoryBytes: total, HugePageBytes: map[int64]int64{}}
	for size, dir := range hugePageDirs() {
		words := readFields(filepath.Join(dir, "nr_hugepages"))
		if len(words) == 1 {
			if pages, err := strconv.ParseInt(words[0], 10, 64); err == nil {
				c.HugePageBytes[size] = pages * size
			}
		}
	}
	return c, nil
}

// ResourceList is the capacity as a Node's status shows it: cpu, memory and
// hugepages-<size>.
func (c Capacity) ResourceList() corev1.ResourceList {
	list := corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewQuantity(int64(c.CPUs), resource.DecimalSI),
		corev1.ResourceMemory: *resource.NewQuantity(c.MemoryBytes, resource.BinarySI),
	}
	for size, bytes := range c.HugePageBytes {
		name := corev1.ResourceHugePagesPrefix + resource.NewQuantity(size, resource.BinarySI).String()
		list[corev1.ResourceName(name)] = *resource.NewQuantity(bytes, resource.BinarySI)
	}
	return list
}

// Allocatable is the capacity less what is reserved for the system and less the
// memory set aside for huge pages, never below zero.
func (c Capacity) Allocatable(reserved corev1.ResourceList) corev1.ResourceList {
	list := c.ResourceList()
	memory := list[corev1.ResourceMemory]
	for _, bytes := range c.HugePageBytes {
		memory.Sub(*resource.NewQuantity(bytes, resource.BinarySI))
	}
	list[corev1.ResourceMemory] = memory
	for name, quantity := range list {
		quantity.Sub(reserved[name])
		if quantity.Sign() < 0 {
			quantity = *resource.NewQuantity(0, quantity.Format)
		}
		list[name] = quantity
	}
	return list
}

// parseMemTotal returns MemTotal in bytes.
func parseMemTotal(meminfo []byte) (int64, error) {
	lines := bufio.NewScanner(bytes.NewReader(meminfo))
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) == 3 && words[0] == "MemTotal:" && words[2] == "kB" {
			kb, err := strconv.ParseInt(words[1], 10, 64)
			if err != nil || kb <= 0 || kb > math.MaxInt64/1024 {
				return 0, fmt.Errorf("MemTotal %q is no amount", words[1])
			}
			return kb * 1024, nil
		}
	}
	return 0, fmt.Errorf("no line MemTotal")
}

// onlineCPUs counts the CPUs of the machine; runtime.NumCPU would only count those
// that the agent's own affinity allows.
func onlineCPUs() int {
	data, err := os.ReadFile("/sys/devices/system/cpu/online")
	if err != nil {
		return runtime.NumCPU()
	}
	if n := countList(strings.TrimSpace(string(data))); n > 0 {
		return n
	}
	return runtime.NumCPU()
}

// countList counts the numbers in a kernel list such as "0-3,8"; 0 when it is none.
func countList(list string) int {
	n := 0
	for _, part := range strings.Split(list, ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		a, err1 := strconv.ParseUint(from, 10, 31)
		b, err2 := strconv.ParseUint(to, 10, 31)
		if err1 != nil || err2 != nil || b < a {
			return 0
		}
		n += int(b-a) + 1
	}
	return n
}

// hugePageDirs returns the kernel's directory for each huge page size, in bytes.
func hugePageDirs() map[int64]string {
	dirs, _ := filepath.Glob("/sys/kernel/mm/hugepages/hugepages-*kB")
	found := map[int64]string{}
	for _, dir := range dirs {
		text := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(dir), "hugepages-"), "kB")
		if kb, err := strconv.ParseInt(text, 10, 40); err == nil && kb > 0 {
			found[kb*1024] = dir
		}
	}
	return found
}

// hugePageSizes returns the page sizes as cgroup files spell them.
func hugePageSizes() []string {
	var sizes []string
	for size := range hugePageDirs() {
		sizes = append(sizes, hugePageSizeName(size))
	}
	return sizes
}
