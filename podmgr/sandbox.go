// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"

	"github.com/minikubelet/minikubelet/cgroups"
	"github.com/minikubelet/minikubelet/network"
	"github.com/minikubelet/minikubelet/podmgr/plan"
	"github.com/minikubelet/minikubelet/runtime"
	"github.com/minikubelet/minikubelet/volumes"
)

// Errors of a sandbox's parts carry the reason that their event has.
type sandboxError struct {
	reason string
	err    error
}

func (e *sandboxError) Error() string { return e.err.Error() }
func (e *sandboxError) Unwrap() error { return e.err }

// sandboxConfigError is a fault of the Pod's own in what its sandbox is to be, in the
// kubelet's words.
func sandboxConfigError(pod *corev1.Pod, err error) error {
	//lint:ignore ST1005 it becomes the message of an event
	return &sandboxError{"FailedCreatePodSandBox", fmt.Errorf("Failed to generate sandbox config for pod %q: %w",
		fmt.Sprintf("%s_%s(%s)", pod.Name, pod.Namespace, pod.UID), err)}
}

// createSandbox makes the Pod's cgroup, volumes, files and namespaces; from then
// on containers may be made. Meanwhile the network is attached and the pause
// container started. What was made is removed again when a part fails.
func (w *worker) createSandbox(ctx context.Context, pod *corev1.Pod, attempt int) (err error) {
	stage := newStage(sandboxID(pod, attempt), attempt, time.Now())
	defer func() {
		if err != nil {
			w.setStage(nil)
			stage.endNetwork()
			w.cancelMembers(stage.id)
			if ctx.Err() == nil {
				err = errors.Join(err, w.dropSandbox(ctx, pod, stage.id))
			}
			w.sandboxFailed(pod, err)
		}
	}()
	if err := w.prepareSandbox(ctx, pod, stage); err != nil {
		return err
	}
	stage.joinable = true
	w.setStage(stage)
	w.wakeUp()

	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return w.part(pod, StepNetwork, func() error { return w.attachNetwork(gctx, pod, stage) })
	})
	g.Go(func() error {
		return w.part(pod, StepCreatePause, func() error { return w.createPause(gctx, pod, stage) })
	})
	if err := g.Wait(); err != nil {
		return err
	}
	if !sharesPID(pod) {
		// Containers need nothing of pause but, with a shared PID namespace, its
		// process: they may start while it does.
		w.setReady(stage)
		w.wakeUp()
	}
	if err := w.part(pod, StepStartPause, func() error { return w.m.cfg.Runtime.Start(ctx, stage.id) }); err != nil {
		return err
	}
	w.setReady(stage)
	return nil
}

func (w *worker) setReady(stage *sandboxStage) {
	w.mu.Lock()
	stage.ready = true
	w.mu.Unlock()
}

func (w *worker) setStage(stage *sandboxStage) {
	w.mu.Lock()
	w.sandbox = stage
	w.mu.Unlock()
}

// prepareSandbox makes what a container needs before it can be created.
func (w *worker) prepareSandbox(ctx context.Context, pod *corev1.Pod, stage *sandboxStage) error {
	if err := w.m.checkRuntime(pod); err != nil {
		return err
	}
	dir := w.podDir(pod)
	for _, d := range []string{dir, filepath.Join(dir, "containers")} {
		if err := os.MkdirAll(d, 0o750); err != nil {
			return &sandboxError{"Failed", fmt.Errorf("error making pod data directories: %w", err)}
		}
	}
	if err := w.m.claimLogs(pod); err != nil {
		return &sandboxError{"Failed", fmt.Errorf("error making pod log directory: %w", err)}
	}
	w.mu.Lock()
	w.hasVolumes = true
	w.mu.Unlock()
	var group sync.WaitGroup
	var atVolumes error
	group.Go(func() {
		atVolumes = w.part(pod, StepVolumes, func() (err error) {
			stage.volumes, err = w.setUpVolumes(ctx, pod)
			return err
		})
	})
	err := w.prepareIsolation(pod, stage)
	group.Wait()
	if atVolumes != nil { // told first, as by a kubelet, which makes volumes before the rest
		return atVolumes
	}
	return err
}

// prepareIsolation makes the Pod's cgroup and namespaces, and the files that its
// containers share.
func (w *worker) prepareIsolation(pod *corev1.Pod, stage *sandboxStage) error {
	cfg := &w.m.cfg
	resources := cgroups.PodResources(pod, w.CgroupOptions)
	err := w.part(pod, StepCgroup, func() error {
		if stage.otherSize {
			return nil
		}
		return cfg.Cgroups.CreatePod(string(pod.UID), cgroups.QOSClass(pod), resources)
	})
	if err != nil {
		return err
	}
	if err := w.writeFiles(pod); err != nil {
		return err
	}
	return w.part(pod, StepNamespaces, func() (err error) {
		options, err := w.namespaceOptions(pod)
		if err != nil {
			return sandboxConfigError(pod, err)
		}
		if ownUsers(pod) {
			if err := cfg.UserNamespaces(); err != nil {
				return sandboxConfigError(pod, fmt.Errorf("can't set `spec.hostUsers: false`, runtime does not support user namespaces: %w", err))
			}
			if options.IDs, err = cfg.IDs.Take(string(pod.UID)); err != nil {
				return err
			}
		}
		if stage.namespaces, err = runtime.PinNamespaces(w.netnsDir(pod), options); err != nil || options.IDs.Size == 0 {
			return err
		}
		return os.Chown(w.shmDir(pod), int(options.IDs.HostID), int(options.IDs.HostID))
	})
}

// attachNetwork gives the Pod its address and writes it into /etc/hosts.
func (w *worker) attachNetwork(ctx context.Context, pod *corev1.Pod, stage *sandboxStage) error {
	defer stage.endNetwork()
	var own []netip.Addr
	if !pod.Spec.HostNetwork {
		if w.m.cfg.Network == nil {
			return fmt.Errorf("this node has no Pod network; only Pods with hostNetwork: true can run")
		}
		ports, err := network.HostPorts(&pod.Spec)
		if err != nil {
			return err
		}
		at, err := w.m.cfg.Network.Attach(ctx, network.Request{
			UID: string(pod.UID), Name: pod.Namespace + "/" + pod.Name, Netns: stage.namespaces.Net, HostPorts: ports,
		})
		if err != nil {
			return err
		}
		own = []netip.Addr{at.IP}
		w.mu.Lock()
		stage.ips = []string{at.IP.String()}
		w.mu.Unlock()
	}
	return w.writeHosts(pod, own)
}

// createPause makes the pause container, which holds the sandbox.
func (w *worker) createPause(ctx context.Context, pod *corev1.Pod, stage *sandboxStage) error {
	cfg := &w.m.cfg
	var cgroup []string
	if plainPause(pod) {
		var err error
		cgroup, err = cfg.Cgroups.CreateChild(string(pod.UID), cgroups.QOSClass(pod), stage.id, cgroups.SandboxResources())
		if err != nil {
			return err
		}
	}
	_, err := cfg.Runtime.Create(ctx, runtime.Container{
		ID:  stage.id,
		Pod: runtimePod(pod), Kind: runtime.KindSandbox, Name: sandboxName, Attempt: stage.attempt,
		Labels: map[string]string{labelSize: w.podSize(pod)},
		Spec: func(context.Context, runtime.SpecInput) (*specs.Spec, error) {
			return w.pause(pod, stage.namespaces, stage.id, cgroup)
		},
	})
	return err
}

const sandboxName = "POD" // the name of the pause container in the kubelet's world

func runtimePod(pod *corev1.Pod) runtime.Pod {
	return runtime.Pod{Namespace: pod.Namespace, Name: pod.Name, UID: string(pod.UID)}
}

// removeSandbox ends everything that runs in the sandbox and removes it with its
// network, namespaces and cgroup. Volumes and the records of ended containers stay.
func (w *worker) removeSandbox(ctx context.Context, pod *corev1.Pod, a plan.Action) error {
	w.setStage(nil)
	if a.Reason != "" {
		w.event(pod, "", corev1.EventTypeNormal, a.Reason, a.Message)
	}
	return w.dropSandbox(ctx, pod, a.ID)
}

// removeVolumes removes the volumes of a Pod that is over.
func (w *worker) removeVolumes(ctx context.Context, pod *corev1.Pod) error {
	if err := w.m.removeVolumes(ctx, pod); err != nil {
		return err
	}
	w.mu.Lock()
	w.hasVolumes = false
	w.mu.Unlock()
	return nil
}

// dropSandbox removes a sandbox however much of it there is. It is safe without
// a sandbox and may be repeated.
func (w *worker) dropSandbox(ctx context.Context, pod *corev1.Pod, id string) error {
	cfg := &w.m.cfg
	uid := string(pod.UID)
	var group sync.WaitGroup
	var removed, detached error
	group.Go(func() {
		removed = cfg.Runtime.RemoveSandbox(ctx, id, func(ctx context.Context) error { return cfg.Cgroups.KillPod(ctx, uid) })
	})
	if cfg.Network != nil {
		group.Go(func() { detached = cfg.Network.Detach(ctx, uid) })
	}
	group.Wait()
	if removed == nil { // else a process may be left, whose users another Pod must not get
		removed = runtime.UnpinNamespaces(w.netnsDir(pod))
	}
	return errors.Join(removed, detached, cfg.Cgroups.RemovePod(ctx, uid))
}

// settleBound is how long a killed process may take to be reaped.
const settleBound = 5 * time.Second

// sandboxFailed tells why a sandbox could not be made, in the kubelet's words.
func (w *worker) sandboxFailed(pod *corev1.Pod, err error) {
	var mounts mountErrors
	if errors.As(err, &mounts) {
		for _, one := range mounts {
			reason := "FailedMount"
			var device *volumes.DeviceError
			if errors.As(one, &device) {
				reason = "FailedMapVolume"
			}
			w.event(pod, "", corev1.EventTypeWarning, reason, one.Error())
		}
		return
	}
	var se *sandboxError
	if errors.As(err, &se) {
		w.event(pod, "", corev1.EventTypeWarning, se.reason, se.Error())
		return
	}
	w.event(pod, "", corev1.EventTypeWarning, "FailedCreatePodSandBox", "Failed to create pod sandbox: "+err.Error())
}

// cancelOthers ends the other steps under way, pulls for instance, which nobody
// waits for any more.
func (w *worker) cancelOthers(key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for other, s := range w.busy {
		if other != key {
			s.cancel()
		}
	}
}

// cancelMembers ends the making of containers for a sandbox that will not be: they may wait
// for its pause container, and its removal for them.
func (w *worker) cancelMembers(sandbox string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.busy {
		if s.action.Kind == plan.CreateContainer && s.action.SandboxID == sandbox {
			s.cancel()
		}
	}
}

// finish removes all that is left of a deleted Pod, and at last its object.
func (w *worker) finish(ctx context.Context, pod *corev1.Pod) error {
	w.cancelOthers(plan.Action{Kind: plan.Finish}.Key())
	w.writing.mu.Lock()
	w.writing.over = true
	w.writing.mu.Unlock()
	if err := w.m.removeAll(ctx, pod); err != nil {
		if ctx.Err() == nil {
			w.event(pod, "", corev1.EventTypeWarning, "FailedKillPod", "error killing pod: "+err.Error())
		}
		return err
	}
	w.release()
	w.status.stop()
	if err := w.m.deleteObject(pod); err != nil {
		return err
	}
	w.mu.Lock()
	w.gone = true
	w.mu.Unlock()
	return nil
}

func sortSandboxes(list []plan.Sandbox) {
	slices.SortFunc(list, func(a, b plan.Sandbox) int { return a.Attempt - b.Attempt })
}
