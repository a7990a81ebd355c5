// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
)

// TestKindsWithoutController: clients find them, there are none, and no form of
// writing is accepted.
func TestKindsWithoutController(t *testing.T) {
	b := newBench(t)
	b.space("default")
	for path, kind := range map[string]string{
		"/api/v1 replicationcontrollers":                "ReplicationController",
		"/apis/apps/v1 daemonsets":                      "DaemonSet",
		"/apis/apps/v1 deployments":                     "Deployment",
		"/apis/apps/v1 replicasets":                     "ReplicaSet",
		"/apis/apps/v1 statefulsets":                    "StatefulSet",
		"/apis/batch/v1 cronjobs":                       "CronJob",
		"/apis/batch/v1 jobs":                           "Job",
		"/apis/autoscaling/v2 horizontalpodautoscalers": "HorizontalPodAutoscaler",
		"/apis/networking.k8s.io/v1 ingresses":          "Ingress",
	} {
		root, name, _ := strings.Cut(path, " ")
		var found metav1.APIResourceList
		b.get(root, 200, &found)
		declared := false
		for _, r := range found.APIResources {
			declared = declared || r.Name == name && r.Kind == kind && r.Namespaced
		}
		if !declared {
			t.Errorf("%s: not in discovery", path)
		}
		list := root + "/namespaces/default/" + name
		version := strings.TrimPrefix(strings.TrimPrefix(root, "/apis/"), "/api/")
		body := `{"apiVersion":"` + version + `","kind":"` + kind + `","metadata":{"name":"x"}}`
		for _, try := range []struct {
			method, path, media string
			code                int
			says                string
		}{
			{"GET", list, "", 200, `"kind":"` + kind + `List"`},
			{"GET", root + "/" + name, "", 200, `"items":[]`},
			{"GET", list + "/x", "", 404, name},
			{"DELETE", list + "/x", "", 404, name},
			{"DELETE", list, "", 200, `"items":[]`},
			{"POST", list, "application/json", 405, "has no controller for the kind " + kind + ": "},
			{"POST", list + "?dryRun=All", "application/json", 405, "has no controller for the kind " + kind + ": "},
			{"PUT", list + "/x", "application/json", 405, "has no controller for the kind " + kind + ": "},
			{"PATCH", list + "/x", "application/merge-patch+json", 405, "has no controller for the kind " + kind + ": "},
			{"PATCH", list + "/x?fieldManager=m", "application/apply-patch+yaml", 405, "has no controller for the kind " + kind + ": "},
		} {
			if code, _, got := b.do(try.method, try.path, body, "Content-Type", try.media); code != try.code || !strings.Contains(got, try.says) {
				t.Errorf("%s %s: %d %s", try.method, try.path, code, got)
			}
		}
		var table metav1.Table
		if b.get(list, 200, &table, "Accept", "application/json;as=Table;v=v1;g=meta.k8s.io"); len(table.Rows) != 0 || len(table.ColumnDefinitions) == 0 {
			t.Errorf("%s: table %+v", path, table)
		}
	}
}

// Informers of such kinds come to an end of their beginning, in protobuf.
func TestInformersOfKindsWithoutController(t *testing.T) {
	b := newBench(t)
	c := b.client("")
	factory := informers.NewSharedInformerFactory(c, 0)
	deployments := factory.Apps().V1().Deployments().Informer()
	factory.Start(t.Context().Done())
	factory.WaitForCacheSync(t.Context().Done())
	if !deployments.HasSynced() || len(deployments.GetStore().List()) != 0 {
		t.Error("not empty")
	}
	_, err := c.AppsV1().Deployments("default").Create(t.Context(), &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "d"}}, metav1.CreateOptions{})
	if !apierrors.IsMethodNotSupported(err) || !strings.Contains(err.Error(), "make a Pod of its spec.template instead") {
		t.Error(err)
	}
}

// Who comes from a cluster with the reference to his ReplicaSet is not taken for
// garbage here.
func TestOwnersWithoutControllerAreTakenToExist(t *testing.T) {
	b := newBench(t)
	b.space("default")
	c := newCollector(b.server)
	p := b.pod("default", "p")
	p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "r", UID: types.UID("u")}}
	if err := b.store.Update("pods", p); err != nil {
		t.Fatal(err)
	}
	if err := c.begin(); err != nil {
		t.Fatal(err)
	}
	c.work()
	var now corev1.Pod
	if err := b.store.Get("pods", "default", "p", &now); err != nil || now.DeletionTimestamp != nil {
		t.Errorf("%v, deleted at %v", err, now.DeletionTimestamp)
	}
}
