// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"strconv"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	upstream "k8s.io/kubernetes/pkg/apis/discovery/v1"
	"k8s.io/kubernetes/pkg/apis/discovery/validation"

	"github.com/minikubelet/minikubelet/api"
	"github.com/minikubelet/minikubelet/store"
)

func endpointSliceKind() *kind {
	return declare[discoveryv1.EndpointSlice, discoveryv1.EndpointSliceList](&kind{
		group: discoveryv1.GroupName, version: "v1", name: "endpointslices", singular: "endpointslice", kind: "EndpointSlice",
		namespaced: true, verbs: allVerbs, types: discoveryv1.AddToScheme,
		strategy: byRules(api.RulesOf(upstream.SetObjectDefaults_EndpointSlice, upstream.Convert_v1_EndpointSlice_To_discovery_EndpointSlice,
			validation.ValidateEndpointSliceCreate, validation.ValidateEndpointSliceUpdate), counted(func(o store.Object) any {
			s := *o.(*discoveryv1.EndpointSlice)
			s.ObjectMeta = metav1.ObjectMeta{Labels: s.Labels}
			s.TypeMeta = metav1.TypeMeta{}
			return s
		})),
		columns: []metav1.TableColumnDefinition{
			column("Name", "string", 0, "Name of the EndpointSlice."),
			column("AddressType", "string", 0, "Kind of its addresses."),
			column("Ports", "string", 0, "Its ports."),
			column("Endpoints", "string", 0, "Its addresses."),
			column("Age", "string", 0, "Time since its creation."),
		},

		cells: func(o store.Object) []any {
			s := o.(*discoveryv1.EndpointSlice)
			var ports, addresses []string
			for _, p := range s.Ports {
				switch {
				case p.Port != nil:
					ports = append(ports, strconv.Itoa(int(*p.Port)))
				default:
					ports = append(ports, "*")
				}
			}
			for _, e := range s.Endpoints {
				addresses = append(addresses, e.Addresses...)
			}
			return []any{s.Name, string(s.AddressType), unset(firstFew(ports)), unset(firstFew(addresses)), age(s.CreationTimestamp)}
		},
	})
}

func unset(s string) string {
	if s == "" {
		return "<unset>"
	}
	return s
}
