// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// kernel is a log that ends. Each of its records is read for itself; an empty one stands
// for some that were lost.
type kernel []string

func (k *kernel) Read(p []byte) (int, error) {
	if len(*k) == 0 {
		return 0, io.ErrClosedPipe
	}
	record := (*k)[0]
	*k = (*k)[1:]
	if record == "" {
		return 0, unix.EPIPE
	}
	return copy(p, record), nil
}

func TestSystemOOM(t *testing.T) {
	const begin = "stress invoked oom-killer: gfp_mask=0x140cca(GFP_HIGHUSER_MOVABLE|__GFP_COMP), order=0, oom_score_adj=0"
	const cgroup = "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=c,mems_allowed=0,oom_memcg=/minikubelet/pod1,task_memcg=/minikubelet/pod1/c,task=stress,pid=17,uid=0"
	const node = "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,task_memcg=/minikubelet/pod1/c,task=stress,pid=17,uid=0"
	killed := func(pid int, name string) string {
		return fmt.Sprintf("Out of memory: Killed process %d (%s) total-vm:4192912kB, anon-rss:1kB, file-rss:0kB, shmem-rss:0kB, UID:0 pgtables:56kB oom_score_adj:0\n SUBSYSTEM=x", pid, name)
	}
	for name, tt := range map[string]struct {
		log  []string
		want []string
	}{
		"the node":          {[]string{begin, "Mem-Info:", node, killed(17, "stress")}, []string{"System OOM encountered, victim process: stress, pid: 17"}},
		"a container":       {[]string{begin, cgroup, killed(17, "stress")}, nil},
		"the root's limit":  {[]string{begin, "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=c,mems_allowed=0,oom_memcg=/,task_memcg=/,task=a,pid=1,uid=0", killed(17, "stress")}, []string{"System OOM encountered, victim process: stress, pid: 17"}},
		"an old kernel":     {[]string{begin, "Task in /a killed as a result of limit of /", killed(17, "a")}, []string{"System OOM encountered, victim process: a, pid: 17"}},
		"its container":     {[]string{begin, "Task in /a/b killed as a result of limit of /a", killed(17, "a")}, nil},
		"odd name":          {[]string{begin, killed(17, "(a) b")}, []string{"System OOM encountered, victim process: (a) b, pid: 17"}},
		"no name":           {[]string{begin, "Killed process what"}, []string{"System OOM encountered"}},
		"others of a group": {[]string{begin, node, killed(17, "a"), killed(18, "b")}, []string{"System OOM encountered, victim process: a, pid: 17"}},
		"both":              {[]string{begin, cgroup, killed(17, "a"), begin, "", node, killed(18, "b")}, []string{"System OOM encountered, victim process: b, pid: 18"}},
		"no report":         {[]string{killed(17, "a"), "x"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var log kernel
			for _, text := range tt.log {
				if text != "" {
					text = fmt.Sprintf("3,1,%d,-;%s", sinceBoot().Microseconds(), text)
				}
				log = append(log, text)
			}
			var got []string
			if err := readOOMs(&log, func(message string) { got = append(got, message) }); err != io.ErrClosedPipe {
				t.Error(err)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

func TestKernelRecord(t *testing.T) {
	for line, want := range map[string]kernelRecord{
		"6,88500,15116840991,-;a: b;c\n SUBSYSTEM=net\n": {15116840991 * time.Microsecond, "a: b;c"},
		"3,1,5,c,caller=T1;x":                            {5 * time.Microsecond, "x"},
		"12,1,5,-;written by a process":                  {},
		"6,1;x":                                          {}, "x": {}, "": {}, "6,1,x,-;y": {},
	} {
		if got, ok := parseKernelRecord(line); ok != (want != kernelRecord{}) || ok && got != want {
			t.Errorf("%q: %+v, %v", line, got, ok)
		}
	}
	old := kernel{"3,1,1,-;x invoked oom-killer: y", fmt.Sprintf("3,2,%d,-;Killed process 1 (a)", (sinceBoot() - 2*oldOOM).Microseconds())}
	_ = readOOMs(&old, func(message string) { t.Error("told of long ago:", message) }) // at its end
}
