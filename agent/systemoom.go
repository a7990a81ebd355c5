// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/minikubelet/minikubelet/podmgr"
	"github.com/minikubelet/minikubelet/store"
)

const (
	// kernelLog has a record for each read; it says with EPIPE that some were lost.
	kernelLog = "/dev/kmsg"
	// recordMax is the kernel's bound of a record's size.
	recordMax = 8 << 10
	// oldOOM is how long ago a process may have been killed to be told of: as long as
	// events are kept. The agent itself may have been the one.
	oldOOM = time.Hour

	systemOOM = "SystemOOM"
)

// followOOM tells, as the kubelet does, of processes that the kernel kills because the
// node is out of memory, and not just a container, until ctx ends.
func (a *Agent) followOOM(ctx context.Context) {
	f, err := os.OpenFile(kernelLog, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err == nil {
		defer f.Close()
		defer context.AfterFunc(ctx, func() { _ = f.Close() })() // which ends the reading
		told := a.toldOOMs()
		err = readOOMs(f, func(message string) {
			if !told[message] {
				a.manager.Load().NodeEvent(corev1.EventTypeWarning, systemOOM, message)
			}
		})
	}
	if ctx.Err() == nil {
		a.log.Warn("the kernel's log cannot be read: there will be no events SystemOOM", "err", err)
	}
}

// readOOMs reads the kernel's log until that fails.
func readOOMs(log io.Reader, tell func(message string)) error {
	var report oomReport
	buf := make([]byte, recordMax)
	for {
		n, err := log.Read(buf)
		if errors.Is(err, unix.EPIPE) {
			continue
		}
		if err != nil {
			return err
		}
		r, ok := parseKernelRecord(string(buf[:n]))
		if !ok {
			continue
		}
		if message, over := report.read(r.text); over && sinceBoot()-r.at < oldOOM {
			tell(message)
		}
	}
}

// toldOOMs are the messages of the events that there are already: the log begins with
// what an earlier agent has read, too.
func (a *Agent) toldOOMs() map[string]bool {
	told := make(map[string]bool)
	_, err := a.store.List(podmgr.Events, metav1.NamespaceDefault, func(data store.Data) error {
		var e corev1.Event
		err := data.Into(&e)
		if err == nil && e.Reason == systemOOM {
			told[e.Message] = true
		}
		return err
	})
	if err != nil {
		a.log.Warn("cannot read the stored events", "err", err)
	}
	return told
}

func sinceBoot() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0 // cannot fail
	}
	return time.Duration(ts.Nano())
}

// kernelRecord is an entry of the kernel's log; at is since boot.
type kernelRecord struct {
	at   time.Duration
	text string
}

// parseKernelRecord reads "priority,number,microseconds,flags…;text". It is not ok when
// the kernel did not write it itself.
func parseKernelRecord(line string) (r kernelRecord, ok bool) {
	head, text, ok := strings.Cut(line, ";")
	fields := strings.Split(head, ",")
	if !ok || len(fields) < 3 {
		return r, false
	}
	priority, err := strconv.Atoi(fields[0])
	if err != nil || priority > 7 { // the bits above are who wrote it
		return r, false
	}
	at, err := strconv.ParseInt(fields[2], 10, 64)
	text, _, _ = strings.Cut(text, "\n") // what follows are the device and the like
	return kernelRecord{time.Duration(at) * time.Microsecond, text}, err == nil
}

// oomReport follows the records that the kernel writes when it kills a process for want
// of memory.
type oomReport struct {
	open bool
	// limit: it is a cgroup's limit that was reached.
	limit bool
}

// read takes the next record's text. over says that a process was killed since the node
// has no memory, message which, in the kubelet's words.
func (o *oomReport) read(text string) (message string, over bool) {
	switch {
	case strings.Contains(text, "invoked oom-killer:"):
		*o = oomReport{open: true}
	case !o.open:
	case strings.Contains(text, "oom-kill:constraint="):
		memcg, ok := field(text, "oom_memcg=")
		o.limit = ok && memcg != "/"
	case strings.HasPrefix(text, "Task in ") && strings.Contains(text, " killed as a result of limit of "): // before Linux 5.0
		_, memcg, _ := strings.Cut(text, " killed as a result of limit of ")
		o.limit = memcg != "/"
	case strings.Contains(text, "Killed process "):
		limit := o.limit
		*o = oomReport{}
		return victim(text), !limit
	}
	return "", false
}

// field finds the value of name among others that are separated by commas.
func field(text, name string) (value string, ok bool) {
	_, rest, ok := strings.Cut(text, ","+name)
	value, _, _ = strings.Cut(rest, ",")
	return value, ok
}

// victim reads "… Killed process 123 (name) …"; names may hold parentheses.
func victim(text string) string {
	const message = "System OOM encountered"
	_, rest, _ := strings.Cut(text, "Killed process ")
	number, rest, _ := strings.Cut(rest, " (")
	pid, err := strconv.Atoi(number)
	end := strings.LastIndex(rest, ")")
	if err != nil || pid == 0 || end <= 0 {
		return message
	}
	return fmt.Sprintf("%s, victim process: %s, pid: %d", message, rest[:end], pid)
}
