// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func (b *bench) keepQuotas() {
	ctx, cancel := context.WithCancel(b.t.Context())
	done := make(chan error, 1)
	go func() { done <- b.server.KeepQuotas(ctx) }()
	b.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.t.Error(err)
		}
	})
}

func (b *bench) quota(space, name, hard string, scopes ...corev1.ResourceQuotaScope) {
	b.t.Helper()
	_, err := b.client("").CoreV1().ResourceQuotas(space).Create(b.t.Context(), &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ResourceQuotaSpec{Hard: list(hard), Scopes: scopes},
	}, metav1.CreateOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
}

// used waits until the status of a quota says so, like "pods: 1/2".
func (b *bench) used(space, name, want string) {
	b.t.Helper()
	b.eventually(want, func() string {
		q, err := b.client("").CoreV1().ResourceQuotas(space).Get(b.t.Context(), name, metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		cells := quotaCells(q)
		return strings.Trim(cells[1].(string)+", "+cells[2].(string), ", ")
	})
}

func sizedPod(name, requests, limits string) *corev1.Pod {
	p := simplePod(name)
	p.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: list(requests), Limits: list(limits)}
	return p
}

func TestQuotasBoundWhatPodsUse(t *testing.T) {
	b := newBench(t)
	b.space("default")
	b.keepQuotas()
	b.quota("default", "compute", "pods=3 requests.cpu=1 limits.memory=1Gi")
	b.used("default", "compute", "pods: 0/3, requests.cpu: 0/1, limits.memory: 0/1Gi")
	pods := b.client("").CoreV1().Pods("default")
	create := func(p *corev1.Pod, want string) {
		t.Helper()
		_, err := pods.Create(t.Context(), p, metav1.CreateOptions{})
		switch {
		case want == "" && err != nil, want != "" && (err == nil || err.Error() != want || !apierrors.IsForbidden(err)):
			t.Errorf("%s: %v", p.Name, err)
		}
	}
	create(sizedPod("silent", "", ""), `pods "silent" is forbidden: failed quota: compute: must specify limits.memory for: c; requests.cpu for: c`)
	create(sizedPod("a", "cpu=600m", "memory=512Mi"), "")
	b.used("default", "compute", "pods: 1/3, requests.cpu: 600m/1, limits.memory: 512Mi/1Gi")
	create(sizedPod("b", "cpu=600m", "memory=1Gi"),
		`pods "b" is forbidden: exceeded quota: compute, requested: limits.memory=1Gi,requests.cpu=600m, used: limits.memory=512Mi,requests.cpu=600m, limited: limits.memory=1Gi,requests.cpu=1`)
	dry := sizedPod("dry", "cpu=100m", "memory=1Gi")
	if _, err := pods.Create(t.Context(), dry, metav1.CreateOptions{DryRun: []string{"All"}}); !apierrors.IsForbidden(err) {
		t.Errorf("a dry run: %v", err)
	}
	create(sizedPod("c", "cpu=300m", "memory=512Mi"), "")
	p, err := pods.Get(t.Context(), "a", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p.Status.Phase = corev1.PodSucceeded
	if err := b.store.Update("pods", p); err != nil {
		t.Fatal(err)
	}
	b.used("default", "compute", "pods: 1/3, requests.cpu: 300m/1, limits.memory: 512Mi/1Gi")
	create(sizedPod("d", "cpu=700m", "memory=512Mi"), "")
	p = sizedPod("", "cpu=0", "memory=1")
	p.Name = "e"
	create(p, `pods "e" is forbidden: exceeded quota: compute, requested: limits.memory=1, used: limits.memory=1Gi, limited: limits.memory=1Gi`)
	if p, err = pods.Get(t.Context(), "d", metav1.GetOptions{}); err != nil {
		t.Fatal(err)
	}
	p.Spec.Containers[0].Resources.Requests = list("cpu=800m")
	_, err = pods.UpdateResize(t.Context(), "d", p, metav1.UpdateOptions{})
	if err == nil || !strings.Contains(err.Error(), "exceeded quota: compute, requested: requests.cpu=100m, used: requests.cpu=1, limited: requests.cpu=1") {
		t.Errorf("resize: %v", err)
	}
	if err := b.store.Delete("pods", &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "d"}}); err != nil {
		t.Fatal(err)
	}
	b.used("default", "compute", "pods: 1/3, requests.cpu: 300m/1, limits.memory: 512Mi/1Gi")
}

func TestQuotasHaveScopes(t *testing.T) {
	b := newBench(t)
	b.keepQuotas()
	sized := sizedPod("p", "cpu=1m", "")
	dated := sizedPod("p", "cpu=1m", "")
	dated.Spec.ActiveDeadlineSeconds = ptr.To[int64](100)
	counts := map[corev1.ResourceQuotaScope][3]int{
		corev1.ResourceQuotaScopeBestEffort: {1, 0, 0}, corev1.ResourceQuotaScopeNotBestEffort: {0, 1, 1},
		corev1.ResourceQuotaScopeTerminating: {0, 0, 1}, corev1.ResourceQuotaScopeNotTerminating: {1, 1, 0},
	}
	for scope, want := range counts {
		for i, p := range []*corev1.Pod{sizedPod("p", "", ""), sized, dated} {
			space := strings.ToLower(fmt.Sprint(scope, i))
			b.space(space)
			b.quota(space, "q", "pods=0", scope)
			_, err := b.client("").CoreV1().Pods(space).Create(t.Context(), p, metav1.CreateOptions{})
			if apierrors.IsForbidden(err) != (want[i] == 1) || err != nil && !apierrors.IsForbidden(err) {
				t.Errorf("%s: %v", space, err)
			}
		}
	}
	b.space("classes")
	if err := Bootstrap(b.store); err != nil {
		t.Fatal(err)
	}
	_, err := b.client("").CoreV1().ResourceQuotas("classes").Create(t.Context(), &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Name: "q"}, Spec: corev1.ResourceQuotaSpec{Hard: list("pods=0"), ScopeSelector: &corev1.ScopeSelector{
			MatchExpressions: []corev1.ScopedResourceSelectorRequirement{{
				ScopeName: corev1.ResourceQuotaScopePriorityClass, Operator: corev1.ScopeSelectorOpIn, Values: []string{"system-node-critical"},
			}},
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for class, refused := range map[string]bool{"": false, "system-cluster-critical": false, "system-node-critical": true} {
		p := simplePod("p" + class)
		p.Spec.PriorityClassName = class
		if _, err := b.client("").CoreV1().Pods("classes").Create(t.Context(), p, metav1.CreateOptions{}); apierrors.IsForbidden(err) != refused {
			t.Errorf("%q: %v", class, err)
		}
	}
}

func TestQuotasCountObjects(t *testing.T) {
	b := newBench(t)
	b.space("default")
	b.keepQuotas()
	c := b.client("").CoreV1()
	b.quota("default", "objects", "count/configmaps=1 secrets=1 services.nodeports=1 requests.storage=3Gi count/leases.coordination.k8s.io=0")
	made := 0
	for _, create := range []func() error{
		func() error {
			_, err := c.ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "c-"}}, metav1.CreateOptions{})
			return err
		},
		func() error {
			_, err := c.Secrets("default").Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{GenerateName: "s-"}}, metav1.CreateOptions{})
			return err
		},
		func() error {
			_, err := c.Services("default").Create(t.Context(), &corev1.Service{
				ObjectMeta: metav1.ObjectMeta{GenerateName: "s-"}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{{Port: 80}}},
			}, metav1.CreateOptions{})
			return err
		},
		func() error {
			_, err := c.PersistentVolumeClaims("default").Create(t.Context(), claim("v-", "2Gi"), metav1.CreateOptions{})
			return err
		},
	} {
		if err := create(); err != nil {
			t.Error(err)
		}
		err := create()
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "exceeded quota: objects, requested: ") {
			t.Errorf("%d: %v", made, err)
		}
		made++
	}
	b.used("default", "objects", "count/configmaps: 1/1, count/leases.coordination.k8s.io: 0/0, requests.storage: 2Gi/3Gi, secrets: 1/1, services.nodeports: 1/1")
	list, err := c.ConfigMaps("default").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.ConfigMaps("default").Delete(t.Context(), list.Items[0].Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	b.used("default", "objects", "count/configmaps: 0/1, count/leases.coordination.k8s.io: 0/0, requests.storage: 2Gi/3Gi, secrets: 1/1, services.nodeports: 1/1")
}

func TestQuotasHoldForCreationsAtOnce(t *testing.T) {
	b := newBench(t)
	b.space("default")
	b.keepQuotas()
	b.quota("default", "q", "configmaps=5")
	c := b.client("").CoreV1().ConfigMaps("default")
	var group sync.WaitGroup
	var made atomic.Int32
	for i := range 40 {
		group.Go(func() {
			_, err := c.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("c", i)}}, metav1.CreateOptions{})
			if err == nil {
				made.Add(1)
			} else if !apierrors.IsForbidden(err) {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if made.Load() != 5 {
		t.Errorf("%d were made", made.Load())
	}
	b.used("default", "q", "configmaps: 5/5")
}
