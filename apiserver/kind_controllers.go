// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"fmt"
	"net/http"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/minikubelet/minikubelet/store"
)

// controllerKinds are those that a cluster has controllers for, and this node has
// not. There are never any objects of them. Clients find the kinds all the same:
// kubectl get all and apply --prune ask for each of them, explain describes them, and
// who writes one is told what to do instead.
func controllerKinds() []*kind {
	const template = "make a Pod of its spec.template"
	all := []string{"all"}
	core, apps, batch := kindsOf(corev1.SchemeGroupVersion, corev1.AddToScheme), kindsOf(appsv1.SchemeGroupVersion, appsv1.AddToScheme), kindsOf(batchv1.SchemeGroupVersion, batchv1.AddToScheme)
	autoscaling, networking := kindsOf(autoscalingv2.SchemeGroupVersion, autoscalingv2.AddToScheme), kindsOf(networkingv1.SchemeGroupVersion, networkingv1.AddToScheme)
	return []*kind{
		declare[corev1.ReplicationController, corev1.ReplicationControllerList](core("ReplicationController", "rc", all, template)),
		declare[appsv1.DaemonSet, appsv1.DaemonSetList](apps("DaemonSet", "ds", all, template)),
		declare[appsv1.Deployment, appsv1.DeploymentList](apps("Deployment", "deploy", all, template)),
		declare[appsv1.ReplicaSet, appsv1.ReplicaSetList](apps("ReplicaSet", "rs", all, template)),
		declare[appsv1.StatefulSet, appsv1.StatefulSetList](apps("StatefulSet", "sts", all, template)),
		declare[batchv1.CronJob, batchv1.CronJobList](batch("CronJob", "cj", all, "make a Pod of its spec.jobTemplate.spec.template when it is time, from a systemd timer for instance")),
		declare[batchv1.Job, batchv1.JobList](batch("Job", "", all, template)),
		declare[autoscalingv2.HorizontalPodAutoscaler, autoscalingv2.HorizontalPodAutoscalerList](autoscaling("HorizontalPodAutoscaler", "hpa", all, "make as many Pods as there should be")),
		declare[networkingv1.Ingress, networkingv1.IngressList](networking("Ingress", "ing", nil, "give the containers of its Pods a hostPort")),
	}
}

// kindsOf begins the declarations of a group's kinds that have no controller.
func kindsOf(gv schema.GroupVersion, types func(*runtime.Scheme) error) func(name, short string, categories []string, instead string) *kind {
	return func(name, short string, categories []string, instead string) *kind {
		plural, singular := meta.UnsafeGuessKindToResource(gv.WithKind(name))
		k := &kind{
			group: gv.Group, version: gv.Version, name: plural.Resource, singular: singular.Resource, kind: name, categories: categories,
			namespaced: true, verbs: allVerbs, types: types, instead: instead,
			columns: []metav1.TableColumnDefinition{
				column("Name", "string", 0, "Name of the "+name+"."),
				column("Age", "string", 0, "Time since its creation."),
			},
			cells: func(o store.Object) []any { return []any{o.GetName(), age(o.GetCreationTimestamp())} },
		}
		if short != "" {
			k.short = []string{short}
		}
		return k
	}
}

// writable is why no object of a kind can be written, nil when objects can be.
func (k *kind) writable(verb string) error {
	if k.instead == "" || verb != "create" && verb != "update" && verb != "patch" {
		return nil
	}
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusMethodNotAllowed, Reason: metav1.StatusReasonMethodNotAllowed,
		Message: fmt.Sprintf("this agent runs Pods and has no controller for the kind %s: %s instead", k.kind, k.instead),
		Details: &metav1.StatusDetails{Group: k.group, Kind: k.name},
	}}
}
