// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/minikubelet/minikubelet/store"
	"github.com/minikubelet/minikubelet/volumes"
)

// sources is what a worker knows of the objects that its Pod refers to. worker.mu
// guards it.
type sources struct {
	refs references
	// changes counts what became of those objects: a step that began before the
	// last change may have read what was before.
	changes uint64
	// stale are volumes whose files may be others now.
	stale map[string]bool
	// frozen are immutable objects that a volume shows: nobody looks at them again.
	frozen map[objectKey]bool
	// refreshing: a refresh is under way.
	refreshing bool
}

// writing serialises what is done to a Pod's volumes: set-up, new files, tear-down.
type writing struct {
	mu   sync.Mutex
	over bool // they are taken down
}

// watchObjects tells the workers of changes of one resource until ctx ends.
func (m *Manager) watchObjects(ctx context.Context, resource string, revision uint64) {
	w := m.cfg.Store.Watch(resource, revision)
	defer func() { w.Close() }()
	for {
		e, err := w.Next(ctx)
		switch {
		case errors.Is(err, store.ErrTooOld):
			w.Close()
			w = m.cfg.Store.Watch(resource, m.cfg.Store.Revision())
			m.eachWorker(func(w *worker) { w.anyObjectChanged(resource) })
		case err != nil:
			return
		default:
			key := objectKey{resource, e.Object.GetName()}
			namespace := e.Object.GetNamespace()
			m.eachWorker(func(w *worker) { w.objectChanged(namespace, key) })
		}
	}
}

func (m *Manager) eachWorker(do func(*worker)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, w := range m.workers {
		do(w)
	}
}

// objectChanged takes note of a change of an object; namespace is empty when it is in
// none.
func (w *worker) objectChanged(namespace string, key objectKey) {
	w.mu.Lock()
	if namespace != "" && w.pod.Namespace != namespace {
		w.mu.Unlock()
		return
	}
	news := w.noteChange(key)
	news = w.noteChange(objectKey{resource: key.resource}) || news
	w.mu.Unlock()
	if news {
		w.wakeUp()
	}
}

// anyObjectChanged is for changes that nobody can name any more.
func (w *worker) anyObjectChanged(resource string) {
	w.mu.Lock()
	news := false
	for key := range w.sources.refs.volumes {
		news = key.resource == resource && w.noteChange(key) || news
	}
	for key := range w.sources.refs.claims {
		news = key.resource == resource && w.noteChange(key) || news
	}
	for key := range w.sources.refs.env {
		news = key.resource == resource && w.noteChange(key) || news
	}
	w.mu.Unlock()
	if news {
		w.wakeUp()
	}
}

// noteChange says whether the object is any business of the Pod. What waits for
// objects is tried again. w.mu is held.
func (w *worker) noteChange(key objectKey) bool {
	shown, env := w.sources.refs.volumes[key], w.sources.refs.env[key]
	if w.sources.frozen[key] {
		shown = nil
	}
	if len(shown) == 0 && !env && !w.sources.refs.claims[key] {
		return false
	}
	w.sources.changes++
	w.markStale(shown)
	for key, f := range w.failures {
		if f.Waits {
			delete(w.failures, key)
		}
	}
	return true
}

// markStale has volumes written again; w.mu is held.
func (w *worker) markStale(names []string) {
	if w.sources.stale == nil {
		w.sources.stale = make(map[string]bool)
	}
	for _, name := range names {
		w.sources.stale[name] = true
	}
}

// rewrite has volumes written again. It does nothing to a Pod that is gone.
func (w *worker) rewrite(volumes []string) {
	w.mu.Lock()
	w.markStale(volumes)
	w.mu.Unlock()
	w.wakeUp()
}

// refresh writes the stale volumes of a Pod whose sandbox is there, in the
// background. Its end wakes the worker.
func (w *worker) refresh(ctx context.Context, steps *sync.WaitGroup) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.sources.stale) == 0 || w.sources.refreshing || w.sandbox == nil {
		return
	}
	w.sources.refreshing = true
	pod, stale := w.pod, w.sources.stale
	w.sources.stale = nil
	steps.Go(func() {
		w.writing.mu.Lock()
		if !w.writing.over {
			w.writeVolumes(ctx, pod, stale)
		}
		w.writing.mu.Unlock()
		w.mu.Lock()
		w.sources.refreshing = false
		w.mu.Unlock()
		w.wakeUp()
	})
}

// writeVolumes brings volumes up to date. One that cannot be keeps its files, the
// Pod's owner is told, and it is tried again, unless it waits for an object.
func (w *worker) writeVolumes(ctx context.Context, pod *corev1.Pod, names map[string]bool) {
	p := w.volumesPod(pod)
	list := slices.Clone(pod.Spec.Volumes)
	list = slices.DeleteFunc(list, func(v corev1.Volume) bool { return !names[v.Name] })
	var errs []error
	var failed []string
	for _, err := range w.projectFiles(ctx, pod, &p, list) {
		errs = append(errs, err)
		if !isMissing(err) {
			failed = append(failed, err.volume.Name)
		}
	}
	list = slices.DeleteFunc(list, func(v corev1.Volume) bool { _, ok := p.Files[v.Name]; return !ok })
	if _, err := w.m.cfg.Volumes.Setup(ctx, p, list); err != nil {
		errs = append(errs, err)
		for i := range list {
			failed = append(failed, list[i].Name)
		}
	}
	if len(failed) > 0 {
		time.AfterFunc(again, func() { w.rewrite(failed) })
	}
	for _, err := range errs {
		if ctx.Err() == nil {
			w.event(pod, "", corev1.EventTypeWarning, "FailedMount", err.Error())
		}
	}
}

// setUpVolumes makes the Pod's volumes. That an object is missing holds up a Pod
// whose volume was never there; one that was keeps its files.
func (w *worker) setUpVolumes(ctx context.Context, pod *corev1.Pod) (volumes.Volumes, error) {
	claims, held := w.findClaims(ctx, pod)
	w.writing.mu.Lock()
	defer w.writing.mu.Unlock()
	w.mu.Lock()
	w.sources.stale = nil // what changes from now on comes again
	w.mu.Unlock()
	p := w.volumesPod(pod)
	p.Claims = claims
	for _, err := range w.projectFiles(ctx, pod, &p, pod.Spec.Volumes) {
		if w.m.cfg.Volumes.Written(p, err.volume) && isMissing(err) {
			w.event(pod, "", corev1.EventTypeWarning, "FailedMount", err.Error())
			continue
		}
		held = append(held, err)
	}
	if len(held) > 0 {
		return nil, held
	}
	watch := watchMounts(pod.Spec.Volumes, mountPatience, func(message string) {
		w.event(pod, "", corev1.EventTypeWarning, "FailedMount", message)
	})
	defer watch.end()
	p.Began = watch.began
	vols, err := w.m.cfg.Volumes.Setup(ctx, p, pod.Spec.Volumes)
	if err != nil {
		return nil, mountErrors{err}
	}
	return vols, nil
}

// projectFiles finds the files of those volumes that the agent writes.
func (w *worker) projectFiles(ctx context.Context, pod *corev1.Pod, p *volumes.Pod, list []corev1.Volume) []*mountError {
	w.mu.Lock()
	written := w.sources.refs.written
	w.mu.Unlock()
	projector := projector{facts: w.NodeFacts, objects: storeObjects{w.m.cfg.Store}, tokens: w.tokens, pod: pod, immutable: w.freeze}
	p.Files = make(map[string]volumes.Files)
	var errs []*mountError
	for i := range list {
		if v := &list[i]; written[v.Name] {
			files, err := projector.files(ctx, v)
			if err != nil {
				errs = append(errs, &mountError{*v, err})
				continue
			}
			p.Files[v.Name] = files
		}
	}
	return errs
}

func (w *worker) freeze(key objectKey) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sources.frozen == nil {
		w.sources.frozen = make(map[objectKey]bool)
	}
	w.sources.frozen[key] = true
}

// mountError is why a volume's files are not known.
type mountError struct {
	volume corev1.Volume
	err    error
}

func (e *mountError) Error() string {
	return fmt.Sprintf("MountVolume.SetUp failed for volume %q : %v", e.volume.Name, e.err)
}
func (e *mountError) Unwrap() error { return e.err }

// mountErrors are those of several volumes; each is an event.
type mountErrors []error

func (m mountErrors) Error() string   { return errors.Join(m...).Error() }
func (m mountErrors) Errors() []error { return m }
func (m mountErrors) Is(target error) bool {
	return slices.ContainsFunc(m, func(err error) bool { return errors.Is(err, target) })
}
