// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"fmt"
	"net/netip"
)

// ServeAPIAt tells where containers reach the Kubernetes API, for their
// KUBERNETES_SERVICE_HOST and the like; without it they have no such variables. It
// has to be called before Run.
func (m *Manager) ServeAPIAt(addr netip.AddrPort) { m.facts.API = addr }

// apiVariables are those that Kubernetes makes of the Service "kubernetes", which
// every container has, whatever enableServiceLinks says.
// https://kubernetes.io/docs/tutorials/services/connect-applications-service/#environment-variables
func (n *NodeFacts) apiVariables() []variable {
	if !n.API.IsValid() {
		return nil
	}
	host, port := n.API.Addr().String(), fmt.Sprint(n.API.Port())
	url := "tcp://" + n.API.String()
	prefix := "KUBERNETES_PORT_" + port + "_TCP"
	return []variable{
		{"KUBERNETES_SERVICE_HOST", host}, {"KUBERNETES_SERVICE_PORT", port}, {"KUBERNETES_SERVICE_PORT_HTTPS", port},
		{"KUBERNETES_PORT", url}, {prefix, url}, {prefix + "_PROTO", "tcp"}, {prefix + "_PORT", port}, {prefix + "_ADDR", host},
	}
}

type variable struct{ name, value string }
