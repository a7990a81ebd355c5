// SPDX-License-Identifier: Apache-2.0

package stats

import (
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	summary "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// self is what the agent's own process uses, containerd included.
func self(began, at time.Time) summary.ContainerStats {
	s := summary.ContainerStats{Name: summary.SystemContainerKubelet, StartTime: metav1.NewTime(began)}
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err == nil {
		used := uint64(usage.Utime.Nano() + usage.Stime.Nano())
		s.CPU = &summary.CPUStats{Time: metav1.NewTime(at), UsageCoreNanoSeconds: &used}
	}
	if rss, ok := residentBytes(); ok {
		s.Memory = &summary.MemoryStats{Time: metav1.NewTime(at), UsageBytes: &rss, WorkingSetBytes: &rss, RSSBytes: &rss}
	}
	return s
}

// residentBytes reads the second field of /proc/self/statm, in pages.
func residentBytes() (uint64, bool) {
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, false
	}
	words := strings.Fields(string(data))
	if len(words) < 2 {
		return 0, false
	}
	pages, err := strconv.ParseUint(words[1], 10, 64)
	return pages * uint64(os.Getpagesize()), err == nil
}
