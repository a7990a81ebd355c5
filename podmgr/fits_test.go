// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/minikubelet/minikubelet/podmgr/plan"
	"github.com/minikubelet/minikubelet/runtime"
	"github.com/minikubelet/minikubelet/runtime/spec"
)

const (
	noMatch     = "NodeAffinity: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
	notTolerate = "TaintToleration: Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate"
)

func TestMisplaced(t *testing.T) {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: NodeLabels("n1")}}
	node.Labels["disk"] = "ssd"
	tainted := node.DeepCopy()
	tainted.Spec.Taints = []corev1.Taint{{Key: "a", Effect: corev1.TaintEffectNoSchedule}, {Key: "b", Value: "x", Effect: corev1.TaintEffectNoExecute}}
	selects := func(key, value string) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{key: value} }
	}
	requires := func(term corev1.NodeSelectorTerm) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
				RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{term}},
			}}
		}
	}
	expression := func(key string, op corev1.NodeSelectorOperator, values ...string) corev1.NodeSelectorTerm {
		return corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: key, Operator: op, Values: values}}}
	}
	field := func(name string) corev1.NodeSelectorTerm {
		return corev1.NodeSelectorTerm{MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{name}}}}
	}
	tests := map[string]struct {
		node   *corev1.Node
		change func(*corev1.Pod)
		want   string
	}{
		"selects nothing":           {node, func(*corev1.Pod) {}, ""},
		"selects a label that is":   {node, selects("disk", "ssd"), ""},
		"selects the host name":     {node, selects(corev1.LabelHostname, "n1"), ""},
		"selects another value":     {node, selects("disk", "hdd"), noMatch},
		"selects what there is not": {node, selects("gpu", ""), noMatch},
		"an affinity that matches":  {node, requires(expression("disk", corev1.NodeSelectorOpIn, "hdd", "ssd")), ""},
		"an affinity that does not": {node, requires(expression("disk", corev1.NodeSelectorOpNotIn, "ssd")), noMatch},
		"one that cannot be read":   {node, requires(expression("disk", "Near", "ssd")), noMatch},
		"the node by name":          {node, requires(field("n1")), ""},
		"another node by name":      {node, requires(field("n2")), noMatch},
		"a taint that evicts":       {tainted, func(*corev1.Pod) {}, notTolerate},
		"both reasons, the first":   {tainted, selects("disk", "hdd"), noMatch},
		"a manifest is not asked":   {tainted, func(p *corev1.Pod) { p.Annotations = map[string]string{annotationSource: "file"} }, ""},
		"a taint that is tolerated": {tainted, func(p *corev1.Pod) {
			p.Spec.Tolerations = []corev1.Toleration{{Key: "b", Operator: corev1.TolerationOpExists}}
		}, ""},
		"a taint for schedulers": {tainted, func(p *corev1.Pod) {
			p.Spec.Tolerations = []corev1.Toleration{{Key: "b", Value: "x", Effect: corev1.TaintEffectNoExecute}}
		}, ""},
		"toleration of another kind": {tainted, func(p *corev1.Pod) { p.Spec.Tolerations = []corev1.Toleration{{Key: "b", Value: "y"}} }, notTolerate},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			pod := new(corev1.Pod)
			tt.change(pod)
			if got := said(misplaced(tt.node, pod, false)); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

func said(r *plan.Refusal) string {
	if r == nil {
		return ""
	}
	return r.Reason + ": " + r.Message
}

// TestPortsOfTheHost: a port is one Pod's, by protocol and address, whether it is mapped
// or the Pod is on the host's network.
func TestPortsOfTheHost(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	ports := func(p ...corev1.ContainerPort) []corev1.Container { return []corev1.Container{{Ports: p}} }
	app := func(p corev1.ContainerPort) corev1.PodSpec { return corev1.PodSpec{Containers: ports(p)} }
	sidecar := func(p corev1.ContainerPort, policy *corev1.ContainerRestartPolicy) corev1.PodSpec {
		spec := corev1.PodSpec{InitContainers: ports(p)}
		spec.InitContainers[0].RestartPolicy = policy
		return spec
	}
	port := func(n int32, ip string, protocol corev1.Protocol) corev1.ContainerPort {
		return corev1.ContainerPort{ContainerPort: n, HostPort: n, HostIP: ip, Protocol: protocol}
	}
	onHost := app(port(7000, "", corev1.ProtocolTCP))
	onHost.HostNetwork = true
	placed := admitted{}
	for name, spec := range map[string]corev1.PodSpec{
		"any":     app(port(8080, "", corev1.ProtocolTCP)),
		"one":     app(port(9090, "192.0.2.1", corev1.ProtocolTCP)),
		"sidecar": sidecar(port(6000, "", corev1.ProtocolUDP), &always),
		"init":    sidecar(port(5000, "", corev1.ProtocolTCP), nil),
		"host":    onHost,
	} {
		placed[types.UID(name)] = placeOf(&corev1.Pod{Spec: spec})
	}
	const taken = "NodePorts: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: NodeLabels("n1")}}
	for name, tt := range map[string]struct {
		spec corev1.PodSpec
		want string
	}{
		"no port":                           {corev1.PodSpec{Containers: ports(corev1.ContainerPort{ContainerPort: 8080})}, ""},
		"a free one":                        {app(port(8081, "", corev1.ProtocolTCP)), ""},
		"the same":                          {app(port(8080, "", corev1.ProtocolTCP)), taken},
		"the same by default":               {app(port(8080, "0.0.0.0", "")), taken},
		"another protocol":                  {app(port(8080, "", corev1.ProtocolUDP)), ""},
		"one address, all are taken":        {app(port(8080, "192.0.2.7", corev1.ProtocolTCP)), taken},
		"all addresses, one is taken":       {app(port(9090, "", corev1.ProtocolTCP)), taken},
		"another address":                   {app(port(9090, "192.0.2.2", corev1.ProtocolTCP)), ""},
		"a sidecar's":                       {app(port(6000, "", corev1.ProtocolUDP)), taken},
		"for a sidecar":                     {sidecar(port(8080, "", corev1.ProtocolTCP), &always), taken},
		"an init container has none":        {app(port(5000, "", corev1.ProtocolTCP)), ""},
		"and wants none":                    {sidecar(port(8080, "", corev1.ProtocolTCP), nil), ""},
		"of a Pod on the host's network":    {app(port(7000, "", corev1.ProtocolTCP)), taken},
		"for a Pod on the host's network":   {corev1.PodSpec{HostNetwork: true, Containers: ports(port(8080, "", corev1.ProtocolTCP))}, taken},
		"two Pods on the host's network":    {onHost, taken},
		"the second of a container's ports": {corev1.PodSpec{Containers: ports(port(1, "", corev1.ProtocolTCP), port(8080, "", corev1.ProtocolTCP))}, taken},
	} {
		t.Run(name, func(t *testing.T) {
			m := &Manager{placed: placed}
			if why, _ := m.unfit(node, &corev1.Pod{Spec: tt.spec}); said(why) != tt.want {
				t.Errorf("%q, want %q", said(why), tt.want)
			}
		})
	}
}

// TestWhoComesFirst: Pods that are here already before all others, whoever is older.
func TestWhoComesFirst(t *testing.T) {
	m := &Manager{cfg: Config{Runtime: new(runtime.Runtime)}}
	now := metav1.Now()
	pods := map[types.UID]*corev1.Pod{}
	for _, p := range []struct {
		name, revision string
		age            time.Duration
		started        bool
	}{
		{"third", "5", time.Hour, false}, {"first", "9", 2 * time.Minute, true}, {"second", "3", time.Minute, true},
		{"fifth", "8", time.Minute, false}, {"fourth", "7", time.Minute, false},
	} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: p.name, ResourceVersion: p.revision, CreationTimestamp: metav1.NewTime(now.Add(-p.age))}}
		if p.started {
			pod.Status.StartTime = &now
		}
		pods[types.UID(p.name)] = pod
	}
	var names []string
	for _, pod := range m.inOrder(pods) {
		names = append(names, pod.Name)
	}
	if want := []string{"first", "second", "third", "fourth", "fifth"}; !slices.Equal(names, want) {
		t.Errorf("%v, want %v", names, want)
	}
}

// TestWhichReasonIsTold: a shortage comes first, but not for a critical Pod, for which
// others would be ended in vain.
func TestWhichReasonIsTold(t *testing.T) {
	m := &Manager{cfg: Config{Allocatable: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}, Node: spec.Node{}}}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: NodeLabels("n1")}}
	critical := int32(2000000000)
	elsewhere := map[string]string{"disk": "ssd"}
	for name, tt := range map[string]struct {
		priority *int32
		selects  map[string]string
		cpu      string
		want     string
		missing  int
	}{
		"a shortage":                       {nil, elsewhere, "2", "OutOfcpu", 0},
		"none":                             {nil, elsewhere, "1", "NodeAffinity", 0},
		"a shortage, a critical Pod":       {&critical, elsewhere, "2", "NodeAffinity", 0},
		"a shortage, and it could be here": {&critical, nil, "2", "OutOfcpu", 1},
	} {
		pod := &corev1.Pod{Spec: corev1.PodSpec{Priority: tt.priority, NodeSelector: tt.selects, Containers: []corev1.Container{{Name: "a", Resources: cpus(tt.cpu)}}}}
		got, missing := m.unfit(node, pod)
		if got == nil || got.Reason != tt.want || len(missing) != tt.missing {
			t.Errorf("%s: %s, missing %v", name, said(got), missing)
		}
	}
}

// TestHugeRequestsAreTooMuch: quantities are larger than the numbers they are compared as.
func TestHugeRequestsAreTooMuch(t *testing.T) {
	node := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1"), corev1.ResourceMemory: resource.MustParse("1Gi")}
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		for _, text := range []string{"2Gi", "9223372036854776", "9e18", "9223372036854775807", "8Ei", "10E", "1e30"} {
			r, missing := admitted(nil).shortage(node, corev1.ResourceList{name: resource.MustParse(text)})
			if r == nil || r.Reason != "OutOf"+string(name) || len(missing) != 1 || missing[0].Amount <= 0 {
				t.Errorf("%s of %s: %s, missing %v", text, name, said(r), missing)
			}
		}
	}
}
