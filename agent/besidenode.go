// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"io"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/minikubelet/minikubelet/agent/socket"
	"github.com/minikubelet/minikubelet/runtime/crilog"
)

// besideNode is the node of a run beside an agent, which may be away for a while.
type besideNode struct {
	client *socket.Client
	ctx    context.Context
}

func (n besideNode) cgroupValues(pod *corev1.Pod) map[string]string {
	f, _ := n.client.Facts(n.ctx, string(pod.UID)) // none: it is shown without
	return f.Cgroup
}

func (n besideNode) ran(pod *corev1.Pod, id string) time.Duration {
	f, _ := n.client.Facts(n.ctx, string(pod.UID))
	return f.Ran[id]
}

// output ends by itself: the agent knows when all is written. What was shown before
// the agent went away is not shown again.
func (n besideNode) output(pod *corev1.Pod, container string, attempt int, _ <-chan struct{}, stdout, stderr io.Writer) error {
	var last time.Time // of the entries that were shown
	same := 0          // how many of them have that time
	for {
		again := same
		err := n.client.Output(n.ctx, pod, container, attempt, last, func(e crilog.Entry) {
			switch {
			case !e.Time.Equal(last):
				last, same = e.Time, 1
			case again > 0:
				again--
				return
			default:
				same++
			}
			w := stdout
			if e.Stream == crilog.Stderr {
				w = stderr
			}
			text := e.Content
			if !e.Partial {
				text = append(text, '\n')
			}
			_, _ = w.Write(text) // a console's: it does not fail
		})
		if err == nil || n.ctx.Err() != nil || socket.Refused(err) {
			return err
		}
		select {
		case <-n.ctx.Done():
			return nil
		case <-time.After(awayAgain):
		}
	}
}

func (n besideNode) drainTime() time.Duration { return awayMax }
