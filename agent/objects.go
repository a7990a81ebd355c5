// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"bufio"
	"context"
	"errors"
	"maps"
	"os"
	goruntime "runtime"
	"runtime/debug"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"

	"github.com/minikubelet/minikubelet/podmgr"
	"github.com/minikubelet/minikubelet/store"
)

// The store's names of what the agent itself puts there.
const (
	nodes      = "nodes"
	namespaces = "namespaces"
)

// putNode brings the node's own object up to date. Nothing is written when
// nothing has changed.
func (a *Agent) putNode() error { return a.writeNode(false) }

// renewNode is putNode with new times in the conditions.
func (a *Agent) renewNode() error { return a.writeNode(true) }

func (a *Agent) writeNode(heartbeat bool) error {
	a.nodeObject.Lock()
	defer a.nodeObject.Unlock()
	for {
		if err := a.tryPutNode(heartbeat); !apierrors.IsConflict(err) { // with a write over the API
			return err
		}
	}
}

func (a *Agent) tryPutNode(heartbeat bool) error {
	node := &corev1.Node{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Node"}}
	err := a.store.Get(nodes, "", a.cfg.NodeName, node)
	missing := apierrors.IsNotFound(err)
	if err != nil && !missing {
		return err
	}
	old := node.DeepCopy()
	if missing {
		node.ObjectMeta = metav1.ObjectMeta{Name: a.cfg.NodeName, UID: uuid.NewUUID(), CreationTimestamp: metav1.Now()}
	}
	if node.Labels == nil {
		node.Labels = make(map[string]string)
	}
	maps.Copy(node.Labels, podmgr.NodeLabels(a.cfg.NodeName))
	if err := a.nodeStatus(&node.Status); err != nil {
		return err
	}
	node.Spec.Taints = pressureTaints(node.Spec.Taints, node.Status.Conditions)
	for i := range node.Status.Conditions {
		if heartbeat {
			node.Status.Conditions[i].LastHeartbeatTime = metav1.Now()
		}
	}
	switch {
	case missing:
		err = a.store.Create(nodes, node)
	case equality.Semantic.DeepEqual(old, node):
		return nil
	default:
		err = a.store.Update(nodes, node)
	}
	if err == nil {
		a.tellOfNode(&old.Status, &node.Status)
	}
	return err
}

func (a *Agent) nodeStatus(s *corev1.NodeStatus) error {
	var err error
	if s.Capacity, s.Allocatable, err = a.cfg.nodeResources(); err != nil {
		return err
	}
	s.Capacity[corev1.ResourcePods] = s.Allocatable[corev1.ResourcePods]
	s.Addresses = nil
	for _, ip := range a.address.ips() {
		s.Addresses = append(s.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: ip})
	}
	s.Addresses = append(s.Addresses, corev1.NodeAddress{Type: corev1.NodeHostName, Address: a.cfg.NodeName})
	s.NodeInfo = corev1.NodeSystemInfo{
		MachineID: firstLine("/etc/machine-id"), SystemUUID: firstLine("/sys/class/dmi/id/product_uuid"), BootID: firstLine("/proc/sys/kernel/random/boot_id"),
		KernelVersion: firstLine("/proc/sys/kernel/osrelease"), OSImage: osImage(), ContainerRuntimeVersion: a.containerdVersion(),
		KubeletVersion: KubernetesVersion(), OperatingSystem: goruntime.GOOS, Architecture: goruntime.GOARCH,
	}
	a.nodeFacts(context.Background(), s) // a few milliseconds of our own containerd
	ready := corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", Message: "the agent is running"}
	if a.network == nil {
		ready.Message += "; there is no Pod network, so that only Pods with hostNetwork can run"
	}
	if a.shuttingDown.Load() {
		ready.Status, ready.Reason, ready.Message = corev1.ConditionFalse, "KubeletNotReady", "node is shutting down"
	}
	for _, c := range a.pressureConditions(s.Conditions) {
		setCondition(s, c)
	}
	setCondition(s, ready)
	setCondition(s, corev1.NodeCondition{Type: corev1.NodeNetworkUnavailable, Status: conditionOf(a.network == nil), Reason: "PodNetwork"})
	return nil
}

func conditionOf(b bool) corev1.ConditionStatus {
	if b {
		return corev1.ConditionTrue
	}
	return corev1.ConditionFalse
}

// setCondition keeps the times of one that stays the same.
func setCondition(s *corev1.NodeStatus, c corev1.NodeCondition) {
	for i := range s.Conditions {
		if have := &s.Conditions[i]; have.Type == c.Type {
			c.LastTransitionTime, c.LastHeartbeatTime = have.LastTransitionTime, have.LastHeartbeatTime
			if have.Status != c.Status {
				c.LastTransitionTime, c.LastHeartbeatTime = metav1.Now(), metav1.Now()
			}
			*have = c
			return
		}
	}
	c.LastTransitionTime, c.LastHeartbeatTime = metav1.Now(), metav1.Now()
	s.Conditions = append(s.Conditions, c)
}

func firstLine(path string) string {
	data, _ := os.ReadFile(path) // what is not there is not told
	line, _, _ := strings.Cut(string(data), "\n")
	return line
}

func osImage() string {
	f, err := os.Open("/etc/os-release")
	if err != nil {
		return ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if v, ok := strings.CutPrefix(lines.Text(), "PRETTY_NAME="); ok {
			if text, err := strconv.Unquote(v); err == nil {
				return text
			}
			return v
		}
	}
	return ""
}

// containerdVersion is that of the built-in containerd; another one is not asked.
func (a *Agent) containerdVersion() string {
	if a.cfg.ContainerdAddress != "" {
		return "containerd://" + a.cfg.ContainerdAddress
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == "github.com/containerd/containerd/v2" {
				return "containerd://" + strings.TrimPrefix(m.Version, "v")
			}
		}
	}
	return "containerd://"
}

// keepNamespaces makes the namespaces that Pods use, until ctx ends.
func (a *Agent) keepNamespaces(ctx context.Context) error {
	w := a.store.Watch(podmgr.Pods, a.store.Revision())
	defer func() { w.Close() }()
	all := func() error {
		return a.each(func(pod *corev1.Pod) error { return a.putNamespace(pod.Namespace) })
	}
	if err := all(); err != nil {
		return err
	}
	for {
		e, err := w.Next(ctx)
		switch {
		case errors.Is(err, store.ErrTooOld):
			w.Close()
			w = a.store.Watch(podmgr.Pods, a.store.Revision())
			err = all()
		case err == nil && e.Type == store.Added:
			err = a.putNamespace(e.Object.GetNamespace())
		case ctx.Err() != nil || errors.Is(err, store.ErrClosed):
			return nil
		}
		if err != nil {
			a.log.Warn("cannot store a namespace", "err", err)
		}
	}
}

// putSystemNamespaces makes the namespaces that are always there.
func (a *Agent) putSystemNamespaces() error {
	for _, name := range []string{metav1.NamespaceDefault, corev1.NamespaceNodeLease, metav1.NamespacePublic, metav1.NamespaceSystem} {
		if err := a.putNamespace(name); err != nil {
			return err
		}
	}
	return nil
}

func (a *Agent) putNamespace(name string) error {
	var have corev1.Namespace
	if err := a.store.Get(namespaces, "", name, &have); !apierrors.IsNotFound(err) {
		return err
	}
	err := a.store.Create(namespaces, &corev1.Namespace{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"},
		ObjectMeta: metav1.ObjectMeta{
			Name: name, UID: uuid.NewUUID(), CreationTimestamp: metav1.Now(), Labels: map[string]string{corev1.LabelMetadataName: name},
			Annotations: map[string]string{annotationAutomatic: "true"},
		},
		Spec:   corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{corev1.FinalizerKubernetes}},
		Status: corev1.NamespaceStatus{Phase: corev1.NamespaceActive},
	})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}
