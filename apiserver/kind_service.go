// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"cmp"
	"net/http"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"
	upstream "k8s.io/kubernetes/pkg/apis/core/v1"
	"k8s.io/kubernetes/pkg/apis/core/validation"

	"github.com/minikubelet/minikubelet/api"
	"github.com/minikubelet/minikubelet/store"
)

// serviceWarning is told to who makes a Service.
const serviceWarning = "spec: nothing on this node's network leads to a Service, and its name does not resolve; " +
	"use the Pods' addresses, a hostPort or kubectl port-forward"

func serviceKind() *kind {
	k := declare[corev1.Service, corev1.ServiceList](&kind{
		version: "v1", name: "services", singular: "service", kind: "Service", short: []string{"svc"}, categories: []string{"all"},
		namespaced: true, verbs: allVerbs, makes: true, types: corev1.AddToScheme,
		strategy: byRules(api.RulesOf(upstream.SetObjectDefaults_Service, upstream.Convert_v1_Service_To_core_Service,
			validation.ValidateServiceCreate, validation.ValidateServiceUpdate), func(o, old store.Object) {
			s := o.(*corev1.Service)
			s.Status = corev1.ServiceStatus{}
			if old != nil {
				s.Status = old.(*corev1.Service).Status
			}
		}),
		admit: func(_ *Server, _ *http.Request, _, old store.Object) ([]string, error) {
			if old != nil {
				return nil, nil
			}
			return []string{serviceWarning}, nil
		},
		columns: []metav1.TableColumnDefinition{
			column("Name", "string", 0, "Name of the Service."),
			column("Type", "string", 0, "How it is reached."),
			column("Cluster-IP", "string", 0, "Its address in the node."),
			column("External-IP", "string", 0, "Its addresses from outside."),
			column("Port(s)", "string", 0, "Its ports."),
			column("Age", "string", 0, "Time since its creation."),
			column("Selector", "string", 1, "The Pods behind it."),
		},

		cells: func(o store.Object) []any {
			s := o.(*corev1.Service)
			ip := none
			if len(s.Spec.ClusterIPs) > 0 {
				ip = s.Spec.ClusterIPs[0]
			}
			return []any{
				s.Name, string(s.Spec.Type), ip, serviceExternal(s), orNone(servicePorts(s.Spec.Ports)), age(s.CreationTimestamp),
				labels.FormatLabels(s.Spec.Selector),
			}
		},
		fields: func(o store.Object) fields.Set {
			s := o.(*corev1.Service)
			return fields.Set{"spec.clusterIP": s.Spec.ClusterIP, "spec.type": string(s.Spec.Type)}
		},
	})
	k.subresources = []subresource{serviceProxy(), k.statusBy(func(o, old store.Object) (field.ErrorList, []string) {
		s := o.(*corev1.Service)
		s.Spec = old.(*corev1.Service).Spec
		return api.RulesOf(nil, upstream.Convert_v1_Service_To_core_Service, validation.ValidateServiceCreate, validation.ValidateServiceStatusUpdate).Update(s, old), nil
	})}
	return k
}

func serviceExternal(s *corev1.Service) string {
	external := strings.Join(s.Spec.ExternalIPs, ",")
	switch s.Spec.Type {
	case corev1.ServiceTypeExternalName:
		return s.Spec.ExternalName
	case corev1.ServiceTypeLoadBalancer:
		var all []string
		for _, in := range s.Status.LoadBalancer.Ingress {
			all = append(all, cmp.Or(in.IP, in.Hostname))
		}
		if all = append(all, s.Spec.ExternalIPs...); len(all) == 0 {
			return "<pending>"
		}
		return strings.Join(all, ",")
	}
	return orNone(external)
}

func servicePorts(ports []corev1.ServicePort) string {
	var out []string
	for _, p := range ports {
		text := strconv.Itoa(int(p.Port))
		if p.NodePort > 0 {
			text += ":" + strconv.Itoa(int(p.NodePort))
		}
		out = append(out, text+"/"+string(p.Protocol))
	}
	return strings.Join(out, ",")
}
