// SPDX-License-Identifier: Apache-2.0

//lint:file-ignore SA1019 the kind is deprecated, and clients still use it

package apiserver

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	upstream "k8s.io/kubernetes/pkg/apis/core/v1"
	"k8s.io/kubernetes/pkg/apis/core/validation"

	"github.com/minikubelet/minikubelet/api"
	"github.com/minikubelet/minikubelet/store"
)

func endpointsKind() *kind {
	return declare[corev1.Endpoints, corev1.EndpointsList](&kind{
		version: "v1", name: "endpoints", singular: "endpoints", kind: "Endpoints", short: []string{"ep"},
		namespaced: true, verbs: allVerbs, makes: true, types: corev1.AddToScheme,
		strategy: byRules(api.RulesOf(upstream.SetObjectDefaults_Endpoints, upstream.Convert_v1_Endpoints_To_core_Endpoints,
			validation.ValidateEndpointsCreate, validation.ValidateEndpointsUpdate), nil),
		columns: []metav1.TableColumnDefinition{
			column("Name", "string", 0, "Name of the Service."),
			column("Endpoints", "string", 0, "Addresses behind the Service."),
			column("Age", "string", 0, "Time since its creation."),
		},

		cells: func(o store.Object) []any {
			e := o.(*corev1.Endpoints)
			var all []string
			for _, set := range e.Subsets {
				for _, a := range set.Addresses {
					if len(set.Ports) == 0 {
						all = append(all, a.IP)
					}
					for _, p := range set.Ports {
						all = append(all, net.JoinHostPort(a.IP, strconv.Itoa(int(p.Port))))
					}
				}
			}
			return []any{e.Name, orNone(firstFew(all)), age(e.CreationTimestamp)}
		},
	})
}

// firstFew lists three, and says how many more there are.
func firstFew(all []string) string {
	if more := len(all) - 3; more > 0 {
		return fmt.Sprintf("%s + %d more...", strings.Join(all[:3], ","), more)
	}
	return strings.Join(all, ",")
}
