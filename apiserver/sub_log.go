// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// LogReader writes a container's log.
type LogReader interface {
	// ReadLog writes the log of the container's newest attempt, or with o.Previous of
	// the one before, as o says. It returns when there is no more; with o.Follow when
	// the attempt has ended or ctx has. That nothing can be read, which it finds out
	// before it writes, is an apierrors.APIStatus.
	ReadLog(ctx context.Context, pod *corev1.Pod, o *corev1.PodLogOptions, w io.Writer) error
}

// podLog is …/pods/{name}/log.
func podLog() subresource {
	return subresource{
		name: "log", verbs: []string{"get"}, kind: corev1.SchemeGroupVersion.WithKind("Pod"), follows: true, serve: (*Server).serveLog,
	}
}

func (s *Server) serveLog(w http.ResponseWriter, r *http.Request, req request) error {
	var pod corev1.Pod
	if err := s.cfg.Store.Get("pods", req.namespace, req.name, &pod); err != nil {
		return err
	}
	o, errs := logOptions(r.URL.Query())
	if len(errs) > 0 {
		return apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("PodLogOptions").GroupKind(), req.name, errs)
	}
	if err := chooseContainer(&pod, o); err != nil {
		return err
	}
	control := http.NewResponseController(w)
	out := &textWriter{w: w, control: control, patience: s.patience(control), flush: o.Follow}
	_ = control.SetReadDeadline(time.Time{}) // a recorder in tests has none
	_ = control.SetWriteDeadline(time.Time{})
	err := s.cfg.Logs.ReadLog(r.Context(), &pod, o, out)
	_ = control.SetWriteDeadline(time.Now().Add(s.readTime)) // for what is in buffers
	if err == nil {
		out.begin()
	}
	if out.begun { // too late for a Status
		return nil
	}
	return err
}

// textWriter streams text to a client that may be slow.
type textWriter struct {
	w        http.ResponseWriter
	control  *http.ResponseController
	patience *patience
	flush    bool
	begun    bool
}

func (t *textWriter) begin() {
	if !t.begun {
		t.begun = true
		t.w.Header().Set("Content-Type", "text/plain")
		t.w.Header().Set("Cache-Control", "no-cache, private")
		t.w.WriteHeader(http.StatusOK)
	}
}

func (t *textWriter) Write(p []byte) (n int, err error) {
	t.begin()
	err = t.patience.within(func() error {
		if n, err = t.w.Write(p); err != nil || !t.flush {
			return err
		}
		return t.control.Flush()
	})
	return n, err
}

// logOptions reads the query as corev1.PodLogOptions.
func logOptions(q url.Values) (*corev1.PodLogOptions, field.ErrorList) {
	o := &corev1.PodLogOptions{
		Container: q.Get("container"), Follow: isTrue(q.Get("follow")), Previous: isTrue(q.Get("previous")), Timestamps: isTrue(q.Get("timestamps")),
	}
	var errs field.ErrorList
	number := func(name string, least int64) *int64 {
		text := q.Get(name)
		if text == "" {
			return nil
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < least {
			errs = append(errs, field.Invalid(field.NewPath(name), text, fmt.Sprintf("must be a number of at least %d", least)))
		}
		return &n
	}
	o.TailLines, o.LimitBytes, o.SinceSeconds = number("tailLines", 0), number("limitBytes", 1), number("sinceSeconds", 1)
	if text := q.Get("sinceTime"); text != "" {
		t, err := time.Parse(time.RFC3339, text)
		if err != nil {
			errs = append(errs, field.Invalid(field.NewPath("sinceTime"), text, "must be a time like 2026-01-02T15:04:05Z"))
		}
		o.SinceTime = &metav1.Time{Time: t}
	}
	if o.SinceTime != nil && o.SinceSeconds != nil {
		errs = append(errs, field.Forbidden(field.NewPath(""), "at most one of `sinceTime` or `sinceSeconds` may be specified"))
	}
	switch stream := q.Get("stream"); stream {
	case "", corev1.LogStreamAll:
	case corev1.LogStreamStdout, corev1.LogStreamStderr:
		o.Stream = &stream
		if o.TailLines != nil {
			errs = append(errs, field.Forbidden(field.NewPath(""), "`tailLines` and specific `stream` are mutually exclusive for now"))
		}
	default:
		errs = append(errs, field.NotSupported(field.NewPath("stream"), stream, []string{corev1.LogStreamAll, corev1.LogStreamStdout, corev1.LogStreamStderr}))
	}
	return o, errs
}

// chooseContainer takes the only container when none is named.
func chooseContainer(pod *corev1.Pod, o *corev1.PodLogOptions) error {
	var apps, inits, ephemerals []string
	for i := range pod.Spec.Containers {
		apps = append(apps, pod.Spec.Containers[i].Name)
	}
	for i := range pod.Spec.InitContainers {
		inits = append(inits, pod.Spec.InitContainers[i].Name)
	}
	for i := range pod.Spec.EphemeralContainers {
		ephemerals = append(ephemerals, pod.Spec.EphemeralContainers[i].Name)
	}
	if o.Container == "" {
		if len(apps) == 1 {
			o.Container = apps[0]
			return nil
		}
		message := fmt.Sprintf("a container name must be specified for pod %s, choose one of: [%s]", pod.Name, strings.Join(apps, " "))
		if len(inits) > 0 {
			message += fmt.Sprintf(" or one of the init containers: [%s]", strings.Join(inits, " "))
		}
		if len(ephemerals) > 0 {
			message += fmt.Sprintf(" or one of the ephemeral containers: [%s]", strings.Join(ephemerals, " "))
		}
		return apierrors.NewBadRequest(message)
	}
	for _, name := range slices.Concat(apps, inits, ephemerals) {
		if name == o.Container {
			return nil
		}
	}
	return apierrors.NewBadRequest(fmt.Sprintf("container %s is not valid for pod %s", o.Container, pod.Name))
}
