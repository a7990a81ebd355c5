// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/utils/ptr"

	"github.com/minikubelet/minikubelet/agent"
	"github.com/minikubelet/minikubelet/podmgr"
	"github.com/minikubelet/minikubelet/runtime/image"
)

// inProcess is an agent inside this process, so that times are those of its own
// clock: from the Pod's arrival to the moment at which it knows the last app
// container started.
type inProcess struct {
	agent *agent.Agent
	stop  context.CancelFunc
	done  chan error

	mu     sync.Mutex
	pods   map[string]*started
	ends   map[string]*ended
	serial int
}

// ended is when a Pod's first container was seen to run no more.
type ended struct {
	at      time.Time
	reached chan struct{} // closed then
}

// started is what was seen of one Pod.
type started struct {
	lastInit, firstApp, allApps time.Time
	reached                     chan struct{} // closed when all apps run
}

func (b *bench) openAgent(ctx context.Context, name string) (*inProcess, error) {
	p := &inProcess{pods: make(map[string]*started), ends: make(map[string]*ended), done: make(chan error, 1)}
	cfg := agent.DefaultConfig()
	cfg.DataDir, cfg.RunDir, cfg.LogDir = b.path(name, "data"), filepath.Join(b.tmpfs, name), b.path(name, "log")
	cfg.MaxPods = 1000
	if err := os.Setenv("PATH", b.bin+":"+os.Getenv("PATH")); err != nil {
		return nil, err
	}
	level := slog.LevelError
	if b.verbose {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	var err error
	if p.agent, err = agent.Open(ctx, cfg, agent.Hooks{OnStatus: p.onStatus}, log); err != nil {
		return nil, err
	}
	if _, err := p.agent.Images().ImportFile(ctx, b.path("busybox.tar"), image.ImportOptions{}); err != nil {
		return nil, errors.Join(err, p.agent.Close())
	}
	rctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	p.stop = stop
	go func() { p.done <- p.agent.Run(rctx) }()
	return p, nil
}

// inAgent gives parts of the measurements an agent inside this process.
func (b *bench) inAgent(name string, parts ...func(context.Context, *inProcess) error) func(context.Context) error {
	return func(ctx context.Context) (err error) {
		p, err := b.openAgent(ctx, name)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, p.close(ctx)) }()
		for _, part := range parts {
			if err := part(ctx, p); err != nil {
				return err
			}
		}
		return nil
	}
}

// close ends the agent; its Pods are gone by then.
func (p *inProcess) close(ctx context.Context) error {
	p.stop()
	err := <-p.done
	return errors.Join(err, p.agent.Leave(ctx), p.agent.Close())
}

func (p *inProcess) onStatus(pod *corev1.Pod, s *corev1.PodStatus) {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if end := p.ends[string(pod.UID)]; end != nil && len(s.ContainerStatuses) > 0 && s.ContainerStatuses[0].State.Running == nil {
		end.at = now
		close(end.reached)
		delete(p.ends, string(pod.UID))
	}
	seen := p.pods[string(pod.UID)]
	if seen == nil || !seen.allApps.IsZero() {
		return
	}
	ended := 0
	for _, c := range s.InitContainerStatuses {
		if c.State.Terminated != nil {
			ended++
		}
	}
	if ended == len(pod.Spec.InitContainers) && seen.lastInit.IsZero() {
		seen.lastInit = now
	}
	running := 0
	for _, c := range s.ContainerStatuses {
		if c.State.Running != nil {
			running++
		}
	}
	if running > 0 && seen.firstApp.IsZero() {
		seen.firstApp = now
	}
	if running == len(pod.Spec.Containers) {
		seen.allApps = now
		close(seen.reached)
	}
}

// create gives the agent a Pod and returns what is seen of it.
func (p *inProcess) create(w workload) (*corev1.Pod, *started, error) {
	p.mu.Lock()
	p.serial++
	pod := w.pod(p.serial)
	pod.UID, pod.CreationTimestamp = uuid.NewUUID(), metav1.Now()
	pod.Spec.NodeName = "bench" // a Pod without a node waits for a scheduler
	seen := &started{reached: make(chan struct{})}
	p.pods[string(pod.UID)] = seen
	p.mu.Unlock()
	return pod, seen, p.agent.Store().Create(podmgr.Pods, pod)
}

// nextEnd is the end of a Pod's first container, which runs now.
func (p *inProcess) nextEnd(pod *corev1.Pod) *ended {
	p.mu.Lock()
	defer p.mu.Unlock()
	end := &ended{reached: make(chan struct{})}
	p.ends[string(pod.UID)] = end
	return end
}

const startBound = 2 * time.Minute

// measure starts a workload once; it also tells the time from the last init
// container's end to the first app container's start, and that of the deletion.
func (p *inProcess) measure(ctx context.Context, w workload) (took, gap, gone time.Duration, err error) {
	began := time.Now()
	pod, seen, err := p.create(w)
	if err != nil {
		return 0, 0, 0, err
	}
	if err := await(ctx, seen.reached, pod.Name+" to run"); err != nil {
		return 0, 0, 0, err
	}
	took, gap = seen.allApps.Sub(began), seen.firstApp.Sub(seen.lastInit)
	asked := time.Now()
	if err := p.remove(ctx, pod, ptr.To[int64](0)); err != nil {
		return 0, 0, 0, err
	}
	return took, gap, time.Since(asked), nil
}

// remove deletes a Pod within a grace period in seconds, its own if nil, and waits
// until it is gone.
func (p *inProcess) remove(ctx context.Context, pod *corev1.Pod, grace *int64) error {
	s := p.agent.Store()
	watch := s.Watch(podmgr.Pods, s.Revision())
	defer watch.Close()
	if err := podmgr.RequestDeletion(s, pod.Namespace, pod.Name, grace); err != nil {
		return err
	}
	for {
		e, err := watch.Next(ctx)
		if err != nil {
			return err
		}
		if e.Type == "DELETED" && e.Object.GetUID() == pod.UID {
			return nil
		}
	}
}

// starts measures each workload beside its floor, in turn.
func (b *bench) starts(ctx context.Context, p *inProcess) error {
	f, err := b.newFloor()
	if err != nil {
		return err
	}
	var gaps, deletes []float64
	for _, w := range works() {
		w.more = killed
		var floors, ours, ratios []float64
		for round := range b.rounds + 1 {
			low, err := f.measure(ctx, w)
			if err != nil {
				return err
			}
			took, gap, gone, err := p.measure(ctx, w)
			if err != nil {
				return err
			}
			time.Sleep(200 * time.Millisecond) // what is cleaned up behind a Pod is not the next one's burden
			if round == 0 {
				continue // warm-up
			}
			floors, ours, ratios = append(floors, ms(low)), append(ours, ms(took)), append(ratios, ms(took)/ms(low))
			if len(w.inits) > 0 {
				gaps = append(gaps, ms(gap))
			}
			if w.name == "w1" {
				deletes = append(deletes, ms(gone))
			}
		}
		b.add(row{What: w.name + ": " + w.about, Unit: "ms", Beside: median(floors), Ours: median(ours), Best: slices.Min(ours), Ratio: median(ratios), Goal: w.goal})
	}
	b.add(row{What: "app start after the last init container's end", Unit: "ms", Ours: median(gaps), Goal: "≤ 25"})
	b.add(row{What: "w1 deleted (SIGKILL) to gone", Unit: "ms", Ours: median(deletes)})
	return nil
}
