// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"runtime/debug"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/minikubelet/minikubelet/agent/systemd"
	"github.com/minikubelet/minikubelet/apiserver"
	"github.com/minikubelet/minikubelet/podmgr"
	"github.com/minikubelet/minikubelet/runtime/engine"
	"github.com/minikubelet/minikubelet/store"
)

// annotationRun marks a Pod of run: it has no owner once its run is gone.
const annotationRun = "minikubelet/run"

const (
	// gcPercent trades a little CPU time, of which an idle node has plenty, for
	// memory, which it has not.
	gcPercent = 50
	// settled is how long nothing must have changed before memory is given back.
	settled = 2 * time.Second
)

// Serve opens the node and keeps the manifest directory's Pods running until ctx
// ends. unit, which may be nil, is told how it goes.
func Serve(ctx context.Context, cfg Config, log *slog.Logger, unit *systemd.Unit) (err error) {
	began := time.Now()
	debug.SetGCPercent(gcPercent)
	tidy := time.AfterFunc(settled, giveBack)
	defer tidy.Stop()
	changed := func(*corev1.Pod, *corev1.PodStatus) { tidy.Reset(settled) }
	a, err := Open(ctx, cfg, Hooks{OnStatus: changed}, log)
	if err != nil {
		return err
	}
	var down bool // the machine goes, with the agent
	defer func() { err = errors.Join(err, a.closeServing(down)) }()
	if err := a.forgetRuns(); err != nil {
		return err
	}
	if err := errors.Join(a.putSystemNamespaces(), apiserver.Bootstrap(a.store)); err != nil {
		return err
	}
	asked := ctx
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(asked))
	defer cancel(nil)
	api, err := a.openFront(ctx)
	if err != nil {
		return err
	}
	if err := a.putNode(); err != nil { // which tells where the API listens
		return errors.Join(err, api.close())
	}
	a.manager.Load().NodeEvent(corev1.EventTypeNormal, "Starting", "Starting minikubelet.")
	go a.beat(ctx)
	go a.followNode(ctx)
	ended := make(chan bool, 1)
	go func() {
		select {
		case <-asked.Done():
			ended <- a.endNode(ctx, unit)
			cancel(nil)
		case <-ctx.Done():
			ended <- false
		}
	}()
	go a.followLogind(ctx)
	go a.collectImages(ctx)
	go a.followOOM(ctx)
	go a.followImages(ctx)
	done := make(chan error, 4)
	go func() { done <- a.Run(ctx) }()
	go func() { done <- api.run(ctx) }()
	go func() { done <- a.keepNamespaces(ctx) }()
	imported := make(chan struct{})
	once := sync.OnceFunc(func() { close(imported) })
	go a.followArchives(ctx, func() { once(); tidy.Reset(settled) })
	go func() {
		select {
		case <-imported: // Pods that need these images need no second look
		case <-ctx.Done():
		}
		done <- newManifests(a.cfg.Manifests, a.cfg.NodeName, a.store, a.startAnew, log).run(ctx)
	}()
	log.Info("serving", "node", a.cfg.NodeName, "manifests", a.cfg.Manifests, "data", a.cfg.DataDir, "took", time.Since(began))
	if err := unit.Ready(); err != nil {
		log.Warn("systemd does not know that the node serves, and may end it", "err", err)
	}
	first := <-done
	cancel(first)
	err = errors.Join(first, <-done, <-done, <-done)
	down = <-ended
	return err
}

// followImages tells the manager of new images, whoever brought them.
func (a *Agent) followImages(ctx context.Context) {
	for ctx.Err() == nil {
		created, errs := a.engine.Client().EventService().Subscribe(a.engine.Context(ctx), `topic~="^/images/(create|update|delete)"`)
		for open := true; open; {
			select {
			case <-created:
				a.manager.Load().ImagesChanged()
				notify(a.nodeChanged)
			case err := <-errs:
				open = false
				if ctx.Err() == nil {
					a.log.Warn("lost the image events of containerd; reconnecting", "err", err)
				}
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// forgetRuns ends Pods that a run left when it was killed: nobody waits for them.
func (a *Agent) forgetRuns() error {
	return errors.Join(removeRunObjects(a.store), a.each(func(pod *corev1.Pod) error {
		if pod.Annotations[annotationRun] == "" {
			return nil
		}
		a.log.Info("ending a Pod whose run is gone", "pod", pod.Namespace+"/"+pod.Name)
		return podmgr.RequestDeletion(a.store, pod.Namespace, pod.Name, ptr.To[int64](0))
	}))
}

// each calls fn with every Pod of the store, as they were when it began.
func (a *Agent) each(fn func(*corev1.Pod) error) error {
	var pods []*corev1.Pod
	_, err := a.store.List(podmgr.Pods, "", func(data store.Data) error {
		pod := new(corev1.Pod)
		pods = append(pods, pod)
		return data.Into(pod)
	})
	if err != nil {
		return err
	}
	var errs []error
	for _, pod := range pods {
		errs = append(errs, fn(pod))
	}
	return errors.Join(errs...)
}

// StopPods ends every Pod of a node without a daemon and removes what the node
// has on the machine: containers, network, cgroups. Images and configuration
// stay. seconds shortens the Pods' grace periods; nil leaves them.
func StopPods(ctx context.Context, cfg Config, seconds *int64, log *slog.Logger) (err error) {
	a, err := Open(ctx, cfg, Hooks{}, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	err = a.each(func(pod *corev1.Pod) error {
		log.Info("ending a Pod", "pod", pod.Namespace+"/"+pod.Name)
		return podmgr.RequestDeletion(a.store, pod.Namespace, pod.Name, seconds)
	})
	if err != nil {
		return err
	}
	if err := a.untilGone(ctx); err != nil {
		return err
	}
	if err := a.settleClaims(ctx); err != nil {
		return err
	}
	return a.leaveMachine(ctx)
}

// lookEvery is how often untilGone looks whether all Pods have ended.
const lookEvery = 20 * time.Millisecond

// untilGone runs the manager until it has ended all Pods. The objects of those with
// finalizers stay: who is to take them off does so when the node serves again.
func (a *Agent) untilGone(ctx context.Context) error {
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- a.Run(running) }()
	m := a.manager.Load()
	select {
	case <-m.Started():
	case err := <-done:
		return errors.Join(err, ctx.Err())
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		left := m.Serving()
		if left == 0 {
			cancel()
			return <-done
		}
		select {
		case <-tick.C:
		case err := <-done:
			return fmt.Errorf("%d Pods have not ended: %w", left, errors.Join(err, ctx.Err()))
		}
	}
}

// Leave removes what the node has on the machine, once Run has returned, if no
// Pods are left in the store.
func (a *Agent) Leave(ctx context.Context) error {
	pods := 0
	if err := a.each(func(*corev1.Pod) error { pods++; return nil }); err != nil || pods > 0 {
		return err
	}
	return a.leaveMachine(ctx)
}

// leaveMachine removes what the node has on the machine beyond its Pods.
func (a *Agent) leaveMachine(ctx context.Context) error {
	var errs []error
	if a.network != nil {
		errs = append(errs, a.network.Destroy(ctx))
	}
	errs = append(errs, a.cgroups.Remove(ctx))
	if a.engine != nil {
		errs = append(errs, a.engine.EndSpare())
	}
	for _, dir := range []string{a.cfg.podsDir(), a.cfg.netnsDir(), a.cfg.attachDir(), engine.SocketDir(a.cfg.containerdState())} {
		if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
