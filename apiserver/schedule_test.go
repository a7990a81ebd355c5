// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// node stores the node.
func (b *bench) node() {
	b.t.Helper()
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", UID: "uid-n1"}}
	if err := b.store.Create("nodes", n); err != nil {
		b.t.Fatal(err)
	}
}

func simplePod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "busybox"}}},
	}
}

// A Pod that gets its node is told of as a cluster's scheduler does it, also one that
// waited; not one that came with it, nor a dry run.
func TestPlacedPodsAreTold(t *testing.T) {
	b := newBench(t)
	b.space("default")
	b.node()
	c := b.client("").CoreV1().Pods("default")
	for name, change := range map[string]func(*corev1.Pod, *metav1.CreateOptions){
		"placed": func(*corev1.Pod, *metav1.CreateOptions) {},
		"named":  func(p *corev1.Pod, _ *metav1.CreateOptions) { p.Spec.NodeName = "n1" },
		"gated": func(p *corev1.Pod, _ *metav1.CreateOptions) {
			p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "example.com/g"}}
		},
		"dry": func(_ *corev1.Pod, o *metav1.CreateOptions) { o.DryRun = []string{metav1.DryRunAll} },
	} {
		p, o := simplePod(name), metav1.CreateOptions{}
		change(p, &o)
		if _, err := c.Create(t.Context(), p, o); err != nil {
			t.Fatal(err)
		}
	}
	if code, _, body := b.do("PATCH", "/api/v1/namespaces/default/pods/applied?fieldManager=m",
		`{apiVersion: v1, kind: Pod, metadata: {name: applied}, spec: {containers: [{name: c, image: i}]}}`, "Content-Type", "application/apply-patch+yaml"); code != 201 {
		t.Fatal(code, body)
	}
	if _, err := c.Patch(t.Context(), "gated", types.MergePatchType, []byte(`{"spec":{"schedulingGates":null}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	b.server.placeAll(make(map[string]string))
	var list corev1.EventList
	b.get("/api/v1/namespaces/default/events", 200, &list)
	var told []string
	for _, e := range list.Items {
		told = append(told, e.Type+" "+e.Reason+" "+e.Message)
	}
	slices.Sort(told)
	const want = "Normal Scheduled Successfully assigned default/"
	if got := strings.Join(told, "; "); got != want+"applied to n1; "+want+"gated to n1; "+want+"placed to n1" {
		t.Error(got)
	}
}

func TestCordonedNodeTakesNoPods(t *testing.T) {
	b := newBench(t)
	b.space("default")
	b.node()
	c := b.client("")
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.server.Schedule(ctx) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	cordon := func(patch string) {
		t.Helper()
		if _, err := c.CoreV1().Nodes().Patch(t.Context(), "n1", types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	state := func(name string) func() string {
		return func() string {
			p, err := c.CoreV1().Pods("default").Get(t.Context(), name, metav1.GetOptions{})
			if err != nil {
				return err.Error()
			}
			out := p.Spec.NodeName
			for _, c := range p.Status.Conditions {
				out += fmt.Sprintf(" %s=%s %s %s", c.Type, c.Status, c.Reason, c.Message)
			}
			return out
		}
	}
	create := func(p *corev1.Pod) {
		t.Helper()
		if _, err := c.CoreV1().Pods("default").Create(t.Context(), p, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	create(simplePod("before"))
	b.eventually("n1", state("before"))
	cordon(`{"spec":{"unschedulable":true}}`)
	n, _ := c.CoreV1().Nodes().Get(t.Context(), "n1", metav1.GetOptions{})
	if len(n.Spec.Taints) != 1 || n.Spec.Taints[0].Key != corev1.TaintNodeUnschedulable {
		t.Errorf("taints of a cordoned node: %v", n.Spec.Taints)
	}
	for _, name := range []string{"waits", "goes"} {
		create(simplePod(name))
	}
	why := " PodScheduled=False Unschedulable 0/1 nodes are available: 1 node(s) were unschedulable. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
	b.eventually(why, state("waits"))
	b.eventually("FailedScheduling", func() string {
		list, err := c.CoreV1().Events("default").List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.name=waits"})
		if err != nil || len(list.Items) != 1 {
			return fmt.Sprint(err, len(list.Items))
		}
		return list.Items[0].Reason
	})
	named, tolerant := simplePod("named"), simplePod("tolerant")
	named.Spec.NodeName = "n1"
	tolerant.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	create(named)
	create(tolerant)
	b.eventually("n1", state("named"))
	b.eventually("n1", state("tolerant"))
	if err := c.CoreV1().Pods("default").Delete(t.Context(), "goes", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	b.eventually(`pods "goes" not found`, state("goes"))
	cordon(`{"spec":{"unschedulable":false,"taints":[{"key":"k","value":"v","effect":"NoSchedule"}]}}`)
	b.eventually(strings.Replace(why, "were unschedulable", "had untolerated taint(s)", 1), state("waits"))
	cordon(`{"spec":{"taints":null}}`)
	b.eventually("n1", state("waits"))
	// A node short of memory takes no BestEffort Pods; others can cope with it.
	cordon(`{"spec":{"taints":[{"key":"node.kubernetes.io/memory-pressure","effect":"NoSchedule"}]}}`)
	burstable := simplePod("burstable")
	burstable.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Mi")}
	create(simplePod("besteffort"))
	create(burstable)
	b.eventually(strings.Replace(why, "were unschedulable", "had untolerated taint(s)", 1), state("besteffort"))
	b.eventually("n1", state("burstable"))
	cordon(`{"spec":{"taints":[{"key":"node.kubernetes.io/disk-pressure","effect":"NoSchedule"}]}}`)
	disk := burstable.DeepCopy()
	disk.Name = "disk"
	create(disk)
	b.eventually(strings.Replace(why, "were unschedulable", "had untolerated taint(s)", 1), state("disk"))
	// More than the whole node has waits for another node.
	has := func(cpu string) {
		t.Helper()
		if _, err := c.CoreV1().Nodes().Patch(t.Context(), "n1", types.MergePatchType, []byte(`{"status":{"allocatable":{"cpu":"`+cpu+`","memory":"1Gi"}}}`), metav1.PatchOptions{}, "status"); err != nil {
			t.Fatal(err)
		}
	}
	cordon(`{"spec":{"taints":null}}`)
	has("2")
	big := simplePod("big")
	big.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1025Mi"), corev1.ResourceCPU: resource.MustParse("2001m")}
	create(big)
	b.eventually(strings.Replace(why, "node(s) were unschedulable", "Insufficient cpu, 1 Insufficient memory", 1), state("big"))
	has("3")
	b.eventually(strings.Replace(why, "node(s) were unschedulable", "Insufficient memory", 1), state("big"))
	fits := big.DeepCopy()
	fits.Name = "fits"
	fits.Spec.Containers[0].Resources.Requests[corev1.ResourceMemory] = resource.MustParse("1Gi")
	create(fits)
	b.eventually("n1", state("fits"))
}

func TestPodsAreBoundOnce(t *testing.T) {
	b := newBench(t)
	b.space("default")
	b.node()
	c := b.client("")
	if _, err := c.CoreV1().Nodes().Patch(t.Context(), "n1", types.MergePatchType, []byte(`{"spec":{"unschedulable":true}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.CoreV1().Pods("default").Create(t.Context(), simplePod("p"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	bind := func(node string) error {
		return c.CoreV1().Pods("default").Bind(t.Context(), &corev1.Binding{
			ObjectMeta: metav1.ObjectMeta{Name: "p"}, Target: corev1.ObjectReference{Kind: "Node", Name: node},
		}, metav1.CreateOptions{})
	}
	if err := bind("n2"); !apierrors.IsBadRequest(err) {
		t.Errorf("another node: %v", err)
	}
	if err := bind("n1"); err != nil {
		t.Fatal(err)
	}
	if err := bind("n1"); !apierrors.IsConflict(err) || !strings.Contains(err.Error(), `pod p is already assigned to node "n1"`) {
		t.Errorf("bound again: %v", err)
	}
}

func TestPodsAreEvicted(t *testing.T) {
	for _, contentType := range contentTypes {
		b := newBench(t)
		b.pod("default", "p")
		c := b.client(contentType)
		evict := func(o *metav1.DeleteOptions) *corev1.Pod {
			t.Helper()
			err := c.PolicyV1().Evictions("default").Evict(t.Context(), &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "default"}, DeleteOptions: o})
			if err != nil {
				t.Fatalf("%s: %v", contentType, err)
			}
			p, err := c.CoreV1().Pods("default").Get(t.Context(), "p", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
		if p := evict(&metav1.DeleteOptions{DryRun: []string{"All"}}); p.DeletionTimestamp != nil {
			t.Error("a dry run has evicted")
		}
		if p := evict(&metav1.DeleteOptions{GracePeriodSeconds: new(int64)}); p.DeletionTimestamp == nil || *p.DeletionGracePeriodSeconds != 0 {
			t.Error("not evicted")
		}
	}
}

func TestOutsidersSetTheirConditionsAlone(t *testing.T) {
	b := newBench(t)
	p := b.pod("default", "p")
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse}}
	c := b.client("").CoreV1().Pods("default")
	if err := b.store.Update("pods", p); err != nil {
		t.Fatal(err)
	}
	_, err := c.Patch(t.Context(), "p", types.StrategicMergePatchType, []byte(
		`{"spec":{"activeDeadlineSeconds":5},"status":{"phase":"Failed","conditions":[{"type":"Ready","status":"True"},{"type":"example.com/gate","status":"True"}]}}`),
		metav1.PatchOptions{}, "status")
	if err != nil {
		t.Fatal(err)
	}
	now, err := c.Get(t.Context(), "p", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(now.Status.Phase, now.Spec.ActiveDeadlineSeconds == nil)
	for _, c := range now.Status.Conditions {
		got += fmt.Sprintf(" %s=%s", c.Type, c.Status)
	}
	if got != "Runningtrue Ready=False example.com/gate=True" {
		t.Error(got)
	}
}

func TestPodsWaitForANodeThatMatches(t *testing.T) {
	b := newBench(t)
	b.space("default")
	b.node()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.server.Schedule(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	c := b.client("").CoreV1()
	selects, prefers, gated := simplePod("selects"), simplePod("prefers"), simplePod("gated")
	selects.Spec.NodeSelector = map[string]string{"disk": "ssd"}
	prefers.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
		NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "disk", Operator: corev1.NodeSelectorOpExists}}}},
	}}}
	gated.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "example.com/wait"}}
	why := func(p *corev1.Pod) string {
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodScheduled {
				return c.Reason + ": " + c.Message
			}
		}
		return p.Spec.NodeName
	}
	unmatched := "Unschedulable: 0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
	for p, want := range map[*corev1.Pod]string{
		selects: unmatched, prefers: unmatched, gated: "SchedulingGated: Scheduling is blocked due to non-empty scheduling gates",
	} {
		p, err := c.Pods("default").Create(t.Context(), p, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got := why(p); got != want {
			t.Errorf("%s: %s", p.Name, got)
		}
	}
	now := func(name string) func() string {
		return func() string {
			p, err := c.Pods("default").Get(t.Context(), name, metav1.GetOptions{})
			if err != nil {
				return err.Error()
			}
			return why(p)
		}
	}
	if _, err := c.Nodes().Patch(t.Context(), "n1", types.MergePatchType, []byte(`{"metadata":{"labels":{"disk":"ssd"}}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	b.eventually("n1", now("selects"))
	b.eventually("n1", now("prefers"))
	if _, err := c.Pods("default").Patch(t.Context(), "gated", types.MergePatchType, []byte(`{"spec":{"schedulingGates":null}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	b.eventually("n1", now("gated"))
}
