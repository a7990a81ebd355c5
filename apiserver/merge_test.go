// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
)

func TestServerSideApply(t *testing.T) {
	b := newBench(t)
	b.space("default")
	c := b.client("").CoreV1().ConfigMaps("default")
	apply := func(manager string, force bool, data map[string]string) (*corev1.ConfigMap, error) {
		return c.Apply(t.Context(), applycorev1.ConfigMap("a", "default").WithData(data), metav1.ApplyOptions{FieldManager: manager, Force: force})
	}
	first, err := apply("one", false, map[string]string{"k": "1", "l": "1"})
	if err != nil || fmt.Sprint(first.Data) != "map[k:1 l:1]" || len(first.ManagedFields) != 1 || first.ManagedFields[0].Operation != metav1.ManagedFieldsOperationApply {
		t.Fatalf("%v %+v", err, first)
	}
	again, err := apply("one", false, map[string]string{"k": "1", "l": "1"})
	if err != nil || again.ResourceVersion != first.ResourceVersion {
		t.Errorf("an apply that changes nothing has written: %v", err)
	}
	_, err = apply("two", false, map[string]string{"k": "2"})
	if !apierrors.IsConflict(err) || !strings.Contains(err.Error(), `conflict with "one": .data.k`) {
		t.Errorf("no conflict: %v", err)
	}
	if o, err := apply("two", true, map[string]string{"k": "2"}); err != nil || fmt.Sprint(o.Data) != "map[k:2 l:1]" {
		t.Errorf("%v %v", err, o)
	}
	if o, err := apply("one", false, map[string]string{}); err != nil || fmt.Sprint(o.Data) != "map[k:2]" {
		t.Errorf("what is given up stays, or goes although another has it: %v %v", err, o)
	}
	// Other writes are noted, too, and those that change nothing write nothing.
	patched, err := c.Patch(t.Context(), "a", types.MergePatchType, []byte(`{"data":{"m":"3"}}`), metav1.PatchOptions{FieldManager: "three"})
	if err != nil || len(patched.ManagedFields) != 2 {
		t.Fatalf("%v %+v", err, patched)
	}
	if o, err := c.Update(t.Context(), patched.DeepCopy(), metav1.UpdateOptions{}); err != nil || o.ResourceVersion != patched.ResourceVersion {
		t.Errorf("an update that changes nothing has written: %v", err)
	}
	if _, err = apply("one", false, map[string]string{"m": "4"}); !apierrors.IsConflict(err) {
		t.Errorf("no conflict with an update: %v", err)
	}
	if code, _, body := b.do("PATCH", "/api/v1/namespaces/default/configmaps/a", "{}", "Content-Type", "application/apply-patch+yaml"); code != 422 || !strings.Contains(body, "fieldManager: Required value: is required for apply patch") {
		t.Errorf("%d %s", code, body)
	}
	if code, _, body := b.do("PATCH", "/api/v1/namespaces/default/configmaps/a?fieldManager=x", "apiVersion: v1\nkind: ConfigMap\nbogus: 1\n", "Content-Type", "application/apply-patch+yaml"); code != 400 || !strings.Contains(body, "field not declared in schema") {
		t.Errorf("%d %s", code, body)
	}
}

// TestServerSideApplyMergesLists has two managers with parts of one Pod.
func TestServerSideApplyMergesLists(t *testing.T) {
	b := newBench(t)
	b.space("default")
	apply := func(query, body string) (int, string) {
		code, _, answer := b.do("PATCH", "/api/v1/namespaces/default/pods/p?"+query, body, "Content-Type", "application/apply-patch+yaml")
		return code, answer
	}
	config := `
apiVersion: v1
kind: Pod
metadata: {name: p, finalizers: [example.com/a]}
spec:
  containers:
  - name: c
    image: busybox
    ports: [{containerPort: 80}, {containerPort: 80, protocol: UDP}]
    env: [{name: A, value: "1"}]
    resources: {requests: {cpu: 1, memory: 64Mi}}
    readinessProbe: {httpGet: {port: 80}}
`
	if code, body := apply("fieldManager=one&dryRun=All", config); code != 201 {
		t.Fatalf("%d %s", code, body)
	}
	b.get("/api/v1/namespaces/default/pods/p", 404, nil)
	if code, body := apply("fieldManager=one", config); code != 201 {
		t.Fatalf("%d %s", code, body)
	}
	if code, body := apply("fieldManager=one", config); code != 200 {
		t.Fatalf("%d %s", code, body)
	}
	if code, body := apply("fieldManager=two", `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","labels":{"l":"1"},"finalizers":["example.com/b"]},"spec":{"containers":[{"name":"c","image":"busybox"}]}}`); code != 200 {
		t.Fatalf("%d %s", code, body)
	}
	var p corev1.Pod
	b.get("/api/v1/namespaces/default/pods/p", 200, &p)
	if len(p.Spec.Containers) != 1 || len(p.Spec.Containers[0].Ports) != 2 || len(p.Spec.Containers[0].Env) != 1 || len(p.Finalizers) != 2 || p.Labels["l"] != "1" {
		t.Errorf("%+v %+v", p.ObjectMeta, p.Spec.Containers)
	}
	if code, body := apply("fieldManager=two", `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"containers":[{"name":"c","image":"busybox:2"}]}}`); code != 409 {
		t.Errorf("%d %s", code, body)
	}
	if code, body := apply("fieldManager=two&force=true", `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"containers":[{"name":"c","image":"busybox:2"}]}}`); code != 200 {
		t.Errorf("%d %s", code, body)
	}
}

// TestWhatTheServerAddsIsNobodys: an apply that takes over the fields of whoever created
// the object must not take away what the server gave it.
func TestWhatTheServerAddsIsNobodys(t *testing.T) {
	b := newBench(t)
	b.space("default")
	b.node()
	pods := b.client("").CoreV1().Pods("default")
	p, err := pods.Create(t.Context(), simplePod("a"), metav1.CreateOptions{FieldManager: "maker"})
	if err != nil || p.Spec.NodeName != "n1" || p.Spec.Priority == nil || len(p.ManagedFields) != 1 {
		t.Fatalf("%v %+v", err, p)
	}
	fields := string(p.ManagedFields[0].FieldsV1.GetRawBytes())
	for _, name := range []string{"nodeName", "priority", "preemptionPolicy", "serviceAccountName", "serviceAccount"} {
		if strings.Contains(fields, `"f:`+name+`"`) {
			t.Errorf("the maker manages %s: %s", name, fields)
		}
	}
	// What kubectl does when a client-side apply goes on as a server-side one.
	p.ManagedFields[0].Operation, p.ManagedFields[0].Manager = metav1.ManagedFieldsOperationApply, "maker"
	if _, err := pods.Update(t.Context(), p, metav1.UpdateOptions{FieldManager: "other"}); err != nil {
		t.Fatal(err)
	}
	config := applycorev1.Pod("a", "default").WithLabels(map[string]string{"l": "1"}).
		WithSpec(applycorev1.PodSpec().WithContainers(applycorev1.Container().WithName("c").WithImage("busybox")))
	if p, err = pods.Apply(t.Context(), config, metav1.ApplyOptions{FieldManager: "maker"}); err != nil || p.Labels["l"] != "1" || p.Spec.NodeName != "n1" {
		t.Errorf("%v %+v", err, p)
	}
}
