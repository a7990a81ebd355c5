// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/minikubelet/minikubelet/runtime"
	"github.com/minikubelet/minikubelet/volumes"
)

// sweep removes what belongs to no Pod of the store: what a crash left, or what
// was the Pods' of a state file that is gone.
func (m *Manager) sweep(ctx context.Context, pods map[types.UID]*corev1.Pod) error {
	orphans := make(map[string]*corev1.Pod)
	add := func(uid, namespace, name string) {
		if uid != "" && pods[types.UID(uid)] == nil && orphans[uid] == nil {
			pod := &corev1.Pod{}
			pod.UID, pod.Namespace, pod.Name = types.UID(uid), namespace, name
			orphans[uid] = pod
		}
	}
	for _, s := range m.cfg.Runtime.List() {
		add(s.Pod.UID, s.Pod.Namespace, s.Pod.Name)
	}
	var errs []error
	uids, err := m.cfg.Cgroups.Pods()
	errs = append(errs, err)
	if m.cfg.Network != nil {
		attached, err := m.cfg.Network.Attached()
		errs = append(errs, err)
		for _, a := range attached {
			uids = append(uids, a.UID)
		}
		keep := make(map[string]bool, len(pods))
		for uid := range pods {
			keep[string(uid)] = true
		}
		_, err = m.cfg.Network.Sweep(ctx, keep) // half-made veths and hostPorts without a Pod
		errs = append(errs, err)
	}
	uids = append(uids, entries(m.cfg.PodsDir)...)
	uids = append(uids, entries(m.cfg.NetnsDir)...)
	for _, uid := range uids {
		add(uid, "", "")
	}
	for _, pod := range m.ownLogs() {
		add(string(pod.UID), pod.Namespace, pod.Name)
	}
	for uid, pod := range orphans {
		m.cfg.Log.Info("removing what is left of a Pod that is gone", "uid", uid, "pod", pod.Namespace+"/"+pod.Name)
		if err := m.removeAll(ctx, pod); err != nil {
			errs = append(errs, fmt.Errorf("pod %s: %w", uid, err))
		}
	}
	return errors.Join(errs...)
}

func entries(dir string) []string {
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

// removeAll removes everything that a Pod has on the machine, in an order in
// which nothing is in use any more. It may be repeated and needs no more than
// the Pod's UID.
func (m *Manager) removeAll(ctx context.Context, pod *corev1.Pod) error {
	cfg, uid := &m.cfg, string(pod.UID)
	errs := []error{cfg.Cgroups.KillPod(ctx, uid)}
	var sandboxes []string
	for _, s := range cfg.Runtime.Pod(uid) {
		if s.Kind == runtime.KindSandbox {
			sandboxes = append(sandboxes, s.ID)
			continue
		}
		errs = append(errs, cfg.Runtime.Remove(ctx, s.ID))
	}
	for _, id := range sandboxes { // last: the shim is theirs
		errs = append(errs, cfg.Runtime.Remove(ctx, id))
	}
	if errors.Join(errs...) == nil { // else a process may be left, whose users another Pod must not get
		errs = append(errs, runtime.UnpinNamespaces(filepath.Join(cfg.NetnsDir, uid)))
	}
	if cfg.Network != nil {
		errs = append(errs, cfg.Network.Detach(ctx, uid))
	}
	errs = append(errs,
		cfg.Cgroups.RemovePod(ctx, uid),
		m.removeFiles(ctx, pod))
	return errors.Join(errs...)
}

// removeFiles takes the volumes down and removes the Pod's logs and, last, its
// directory. While a volume's tear-down fails nothing is removed: it may still be
// mounted.
func (m *Manager) removeFiles(ctx context.Context, pod *corev1.Pod) error {
	if err := m.removeVolumes(ctx, pod); err != nil {
		return err
	}
	if err := m.removeLogs(pod); err != nil {
		return err
	}
	return os.RemoveAll(filepath.Join(m.cfg.PodsDir, string(pod.UID)))
}

// removeVolumes takes the volumes down, with the Pod's /dev/shm, and lets go of the
// images that are some.
func (m *Manager) removeVolumes(ctx context.Context, pod *corev1.Pod) error {
	dir := filepath.Join(m.cfg.PodsDir, string(pod.UID))
	if err := m.cfg.Volumes.Teardown(ctx, volumes.Pod{UID: string(pod.UID), Namespace: pod.Namespace, Name: pod.Name, Dir: dir}); err != nil {
		return err
	}
	if err := m.cfg.Runtime.ReleaseImages(ctx, string(pod.UID)); err != nil {
		return err
	}
	shm := filepath.Join(dir, "shm")
	if mounted, err := isTmpfs(shm); err == nil && mounted {
		if err := unix.Unmount(shm, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			return fmt.Errorf("unmount %s: %w", shm, err)
		}
	}
	return nil
}

// deleteObject removes the Pod from the store, if it is still that Pod. One with
// finalizers stays until they are gone: that change makes a new worker, which
// comes here again.
func (m *Manager) deleteObject(pod *corev1.Pod) error {
	var stored corev1.Pod
	err := m.cfg.Store.Get(Pods, pod.Namespace, pod.Name, &stored)
	switch {
	case err != nil || stored.UID != pod.UID:
	case len(stored.Finalizers) > 0:
		err = m.holdObject(&stored)
	default:
		if err := m.forgetEnding(pod); err != nil {
			return err
		}
		err = m.cfg.Store.Delete(Pods, &stored)
	}
	if apierrors.IsNotFound(err) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// holdObject says of a Pod which has ended and must stay that its grace period is
// over.
func (m *Manager) holdObject(pod *corev1.Pod) error {
	if pod.DeletionGracePeriodSeconds != nil && *pod.DeletionGracePeriodSeconds == 0 {
		return nil
	}
	pod.DeletionGracePeriodSeconds = ptr.To[int64](0)
	return m.cfg.Store.Update(Pods, pod)
}

// attachedIPs are the Pod's own addresses as they are found; false when it should
// have one and has none.
func (w *worker) attachedIPs(pod *corev1.Pod) ([]string, bool) {
	if pod.Spec.HostNetwork {
		return nil, true
	}
	if w.m.cfg.Network == nil {
		return nil, false
	}
	attached, err := w.m.cfg.Network.Attached()
	if err != nil {
		w.log.Warn("cannot look at the network", "err", err)
		return nil, false
	}
	for _, a := range attached {
		if a.UID == w.uid {
			return []string{a.IP.String()}, true
		}
	}
	return nil, false
}
