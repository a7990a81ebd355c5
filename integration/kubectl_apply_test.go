// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestKubectlApply applies by server and by client, compares, and prunes.
func TestKubectlApply(t *testing.T) {
	kubectlPath(t)
	n := startNode(t)
	config := func(value string) string {
		return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, labels: {app: x}}\ndata: {k: '" + value + "'}\n"
	}
	run := func(want, stdin string, args ...string) {
		t.Helper()
		if out, err := n.tryKubectl(stdin, args...); err != nil || !strings.Contains(out, want) {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
	run("configmap/c serverside-applied (server dry run)", config("1"), "apply", "--server-side", "--dry-run=server", "-f", "-")
	run("configmap/c serverside-applied", config("1"), "apply", "--server-side", "-f", "-")
	if out, err := n.tryKubectl(config("2"), "apply", "--server-side", "--field-manager=other", "-f", "-"); err == nil || !strings.Contains(out, `conflict with "kubectl": .data.k`) {
		t.Errorf("no conflict: %v %s", err, out)
	}
	run("serverside-applied", config("2"), "apply", "--server-side", "--field-manager=other", "--force-conflicts", "-f", "-")
	if out, err := n.tryKubectl(config("3"), "diff", "-f", "-"); err == nil || !strings.Contains(out, "+  k: \"3\"") {
		t.Errorf("no difference: %v %s", err, out)
	}
	if out, err := n.tryKubectl(config("3"), "diff", "--server-side", "--force-conflicts", "-f", "-"); err == nil || !strings.Contains(out, "+  k: \"3\"") {
		t.Errorf("no difference: %v %s", err, out)
	}
	n.expect(`other`, "get", "cm", "c", "-o", "jsonpath={.metadata.managedFields[*].manager}", "--show-managed-fields")

	dir := filepath.Join(t.TempDir(), "k")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"kustomization.yaml": "resources: [a.yaml]\nnamePrefix: pre-\n",
		"a.yaml":             "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, labels: {app: other}}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run("configmap/pre-a created", "", "apply", "-k", dir)
	run("configmap/pre-a pruned", strings.ReplaceAll(config("1"), "app: x", "app: other"), "apply", "--prune", "-l", "app=other", "-f", "-")
	run("pod/ticker serverside-applied", ticker, "apply", "--server-side", "-f", "-")
	run("pod/ticker serverside-applied", ticker, "apply", "--server-side", "-f", "-")
	n.expect(`condition met`, "wait", "--for=condition=Ready", "pod/ticker", "--timeout=60s")
	run("pod/ticker configured", ticker, "apply", "-f", "-")
	run("pod/ticker unchanged", ticker, "apply", "-f", "-")

	// What a client applied the server goes on with, and takes nothing away.
	second := strings.ReplaceAll(ticker, "name: ticker,", "name: second,")
	run("pod/second created", second, "apply", "-f", "-")
	out, err := n.tryKubectl(strings.ReplaceAll(second, "app: ticker", "app: other"), "apply", "--server-side", "-f", "-")
	if err != nil || strings.TrimSpace(out) != "pod/second serverside-applied" {
		t.Errorf("%v: %s", err, out)
	}
	n.expect(`second n1 other`, "get", "pod", "second", "-o", "custom-columns=:.metadata.name,:.spec.nodeName,:.metadata.labels.app")
}
