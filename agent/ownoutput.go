// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/minikubelet/minikubelet/agent/socket"
	"github.com/minikubelet/minikubelet/podmgr"
	"github.com/minikubelet/minikubelet/runtime"
	"github.com/minikubelet/minikubelet/runtime/crilog"
	"github.com/minikubelet/minikubelet/store"
)

// facts tells of a Pod what its status does not have.
func (o *ownAPI) facts(w http.ResponseWriter, r *http.Request) {
	uid, a := r.URL.Query().Get("uid"), o.agent
	out := socket.Facts{Ran: make(map[string]time.Duration)}
	out.Cgroup, _ = a.cgroups.ReadPodValues(uid) // none: there is no such Pod
	for _, s := range a.runtime.Pod(uid) {
		if s.State == runtime.StateExited && !s.StartedAt.IsZero() {
			out.Ran[s.ID] = s.FinishedAt.Sub(s.StartedAt)
		}
	}
	answer(w, http.StatusOK, out)
}

// output follows one attempt of a container to its end, in the log's own format.
func (o *ownAPI) output(w http.ResponseWriter, r *http.Request) {
	q, a := r.URL.Query(), o.agent
	pod := new(corev1.Pod)
	err := a.store.Get(podmgr.Pods, q.Get("namespace"), q.Get("pod"), pod)
	if err != nil || string(pod.UID) != q.Get("uid") || containerStatus(pod, q.Get("container")) == nil {
		refuse(w, http.StatusNotFound, metav1.StatusReasonNotFound, "there is no such container")
		return
	}
	attempt, err := strconv.Atoi(q.Get("attempt"))
	opts := crilog.Options{Follow: true}
	if since := q.Get("since"); err == nil && since != "" {
		opts.Since, err = time.Parse(time.RFC3339Nano, since)
	}
	if err != nil || attempt < 0 {
		refuse(w, http.StatusBadRequest, metav1.StatusReasonBadRequest, "attempt: must be a number; since: must be a time")
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	opts.Done = a.written(ctx, pod, q.Get("container"), attempt)
	path := podmgr.LogFile(a.cfg.LogDir, pod, q.Get("container"), attempt)
	lines := newLines(w)
	err = crilog.Read(ctx, path, opts, func(e crilog.Entry) error { return lines.bytes(rawEntry(e)) })
	if ctx.Err() != nil || err != nil && !errors.Is(err, fs.ErrNotExist) {
		panic(http.ErrAbortHandler) // so that the client does not take it for the end
	}
}

// rawEntry is an entry as crilog.Parse reads it.
func rawEntry(e crilog.Entry) []byte {
	tag := " F "
	if e.Partial {
		tag = " P "
	}
	b := e.Time.AppendFormat(nil, time.RFC3339Nano)
	b = append(append(append(b, ' '), e.Stream...), tag...)
	return append(append(b, e.Content...), '\n')
}

// written is closed when an attempt of a container has ended and all its output is
// in the log.
func (a *Agent) written(ctx context.Context, pod *corev1.Pod, container string, attempt int) <-chan struct{} {
	done := make(chan struct{})
	w := a.store.Watch(podmgr.Pods, a.store.Revision())
	go func() {
		defer close(done)
		defer func() { w.Close() }()
		for {
			wait, cancel := ctx, context.CancelFunc(func() {})
			switch a.writes(pod, container, attempt) {
			case attemptOver:
				return
			case attemptEnds: // no event tells when its log is complete
				wait, cancel = context.WithTimeout(ctx, releasePoll)
			}
			_, err := w.Next(wait)
			cancel()
			switch {
			case ctx.Err() != nil || errors.Is(err, store.ErrClosed):
				return
			case errors.Is(err, store.ErrTooOld):
				w.Close()
				w = a.store.Watch(podmgr.Pods, a.store.Revision())
			}
		}
	}()
	return done
}

type attemptState int

const (
	attemptOver attemptState = iota // nothing is written any more
	attemptEnds                     // what it wrote is not all in the log
	attemptRuns
)

func (a *Agent) writes(pod *corev1.Pod, container string, attempt int) attemptState {
	for _, s := range a.runtime.Pod(string(pod.UID)) {
		if s.Name != container || s.Attempt != attempt || s.Kind == runtime.KindSandbox {
			continue
		}
		switch {
		case s.State != runtime.StateExited:
			return attemptRuns
		case !s.Released:
			return attemptEnds
		}
	}
	return attemptOver
}
