// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"encoding/json"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// nodeObject reads the node over the API.
func (n *node) nodeObject() *corev1.Node {
	n.t.Helper()
	var o corev1.Node
	if err := json.Unmarshal([]byte(n.kubectl("get", "node", nodeName, "-o", "json")), &o); err != nil {
		n.t.Fatal(err)
	}
	return &o
}

func TestNodeObject(t *testing.T) {
	kubectlPath(t)
	n := startNode(t)
	n.eventually("the image is listed", func() bool { return len(n.nodeObject().Status.Images) == 1 })
	o := n.nodeObject()
	s := o.Status
	for what, ok := range map[string]bool{
		"image":       strings.Contains(strings.Join(s.Images[0].Names, " "), "busybox") && s.Images[0].SizeBytes > 100000,
		"port":        s.DaemonEndpoints.KubeletEndpoint.Port > 0,
		"handlers":    len(s.RuntimeHandlers) == 1 && s.RuntimeHandlers[0].Features != nil,
		"features":    s.Features != nil && *s.Features.SupplementalGroupsPolicy,
		"boot":        s.NodeInfo.BootID != "" && s.NodeInfo.KernelVersion != "" && s.NodeInfo.OSImage != "" && s.NodeInfo.Architecture != "",
		"disk":        !s.Capacity.StorageEphemeral().IsZero() && !s.Allocatable.StorageEphemeral().IsZero(),
		"pods":        s.Capacity.Pods().Value() == 110 && s.Allocatable.Pods().Value() == 110,
		"addresses":   len(s.Addresses) >= 2,
		"conditions":  len(s.Conditions) >= 2,
		"has a label": o.Labels[corev1.LabelHostname] == nodeName,
	} {
		if !ok {
			t.Errorf("%s is wrong: %+v", what, s)
		}
	}
	n.eventually("the Lease and the events", func() bool {
		out := n.kubectl("describe", "node", nodeName)
		return strings.Contains(out, "HolderIdentity:  n1") && strings.Contains(out, "RenewTime:") &&
			strings.Contains(out, "Node n1 status is now: NodeReady") && strings.Contains(out, "Starting minikubelet.")
	})
	n.expect(`n1 n1 \w+`, "get", "lease", "-n", "kube-node-lease")

	// It is the same node after a restart, and has not become ready again.
	n.terminate()
	n.start()
	if again := n.nodeObject(); again.UID != o.UID {
		t.Errorf("after a restart: %v", again.ObjectMeta)
	}
	n.eventually("the second start is told", func() bool {
		out := n.kubectl("get", "events", "-A", "-o", "json")
		return strings.Count(out, `"reason": "Starting"`) >= 2 || strings.Contains(out, `"count": 2`)
	})
	if out := n.kubectl("get", "events", "-A"); strings.Contains(out, "Rebooted") || strings.Count(out, "status is now: NodeReady") != 1 {
		t.Errorf("events: %s", out)
	}
}
