// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

func TestAPIVariables(t *testing.T) {
	const rest = " KUBERNETES_SERVICE_PORT_HTTPS=6443 KUBERNETES_PORT=tcp://10.88.0.1:6443 KUBERNETES_PORT_6443_TCP=tcp://10.88.0.1:6443" +
		" KUBERNETES_PORT_6443_TCP_PROTO=tcp KUBERNETES_PORT_6443_TCP_PORT=6443 KUBERNETES_PORT_6443_TCP_ADDR=10.88.0.1"
	pod := &corev1.Pod{Spec: corev1.PodSpec{EnableServiceLinks: ptr.To(false)}}
	node := &NodeFacts{API: netip.MustParseAddrPort("10.88.0.1:6443")}
	for spec, want := range map[string]string{
		"name: c": "KUBERNETES_SERVICE_HOST=10.88.0.1 KUBERNETES_SERVICE_PORT=6443" + rest,
		"env: [{name: A, value: 'https://$(KUBERNETES_SERVICE_HOST)'}]":                                    "A=https://10.88.0.1 KUBERNETES_SERVICE_HOST=10.88.0.1 KUBERNETES_SERVICE_PORT=6443" + rest,
		"env: [{name: KUBERNETES_SERVICE_HOST, value: own}, {name: A, value: $(KUBERNETES_SERVICE_HOST)}]": "KUBERNETES_SERVICE_HOST=own A=own KUBERNETES_SERVICE_PORT=6443" + rest,
	} {
		env, err := node.env(pod, containerFrom(t, spec), envSources{})
		if got := strings.Join(env.list(), " "); err != nil || got != want {
			t.Errorf("%s: %v\ngot  %s\nwant %s", spec, err, got, want)
		}
	}
	if env, err := new(NodeFacts).env(pod, containerFrom(t, "name: c"), envSources{}); err != nil || len(env.list()) != 0 {
		t.Errorf("without an API: %v %v", env.list(), err)
	}
}
