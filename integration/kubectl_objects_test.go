// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"strings"
	"testing"
)

// TestKubectlObjects writes and reads objects that Pods use, over the API and
// from the manifest directory.
func TestKubectlObjects(t *testing.T) {
	kubectlPath(t)
	n := startNode(t)
	n.expect(`configmap/c created`, "create", "configmap", "c", "--from-literal=k=1")
	n.expect(`c 1 \w+`, "get", "cm", "c")
	n.expect(`configmap/c patched`, "patch", "cm", "c", "--type=merge", "-p", `{"data":{"l":"2"}}`)
	n.expect(`secret/s created`, "create", "secret", "generic", "s", "--from-literal=k=hidden")
	n.expect(`s Opaque 1 \w+`, "get", "secrets", "--field-selector", "type=Opaque")
	n.expect(`k: 6 bytes`, "describe", "secret", "s")

	n.apply("files.yaml", `
apiVersion: v1
kind: ConfigMap
metadata: {name: from-file}
data: {k: "1"}
---
apiVersion: v1
kind: Secret
metadata: {name: from-file}
stringData: {k: hidden}
`)
	n.eventually("the objects of the file are stored", func() bool {
		out, err := n.tryKubectl("", "get", "configmap/from-file", "secret/from-file", "-o", "name")
		return err == nil && strings.Contains(out, "secret/from-file")
	})
	for _, args := range [][]string{{"delete", "cm", "from-file"}, {"label", "secret", "from-file", "a=b"}} {
		if out, err := n.tryKubectl("", args...); err == nil || !strings.Contains(out, "files.yaml: change or remove that file") {
			t.Errorf("%v: %v %s", args, err, out)
		}
	}
	n.remove("files.yaml")
	n.eventually("the objects of the file are gone", func() bool {
		out, err := n.tryKubectl("", "get", "configmaps,secrets", "-o", "name")
		return err == nil && !strings.Contains(out, "from-file")
	})
	n.expect(`configmap "c" deleted`, "delete", "cm", "c")
}
