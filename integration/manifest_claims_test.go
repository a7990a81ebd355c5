// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// goes is the annotation of a claim that goes with its manifest.
func goes(claim string) string {
	return strings.Replace(claim, "metadata: {", "metadata: {annotations: {minikubelet/when-removed: Delete}, ", 1)
}

// TestClaimsFromFiles: a node without kubectl has data that outlive Pods, files and the
// agent, and loses them only when the claim's file has said so.
func TestClaimsFromFiles(t *testing.T) {
	n := startNode(t)
	const class = "---\napiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: own}\nprovisioner: minikubelet/local-path\n"
	kept := claim("kept", "ReadWriteOnce", ", storageClassName: own") + class
	writer := func(name, claim string) string {
		return podOf(name, mounts(claim), apps(sh("a", "cat /v/f; echo "+name+" was here >>/v/f; echo written; "+forever, onV)))
	}
	n.apply("claims.yaml", kept+"---\n"+goes(claim("gone", "ReadWriteOnce", "")))
	n.apply("first.yaml", writer("first", "kept")+"---\n"+writer("other", "gone"))
	n.awaitLine(n.awaitRunning("first"), "a", 0, "written")
	n.awaitLine(n.awaitRunning("other"), "a", 0, "written")
	if got := n.volumes(); len(got) != 2 {
		t.Fatalf("volumes %v", got)
	}

	n.kill()
	n.remove("claims.yaml") // nobody looks
	n.start()
	n.eventually("the claim that goes is ending", func() bool {
		var c corev1.PersistentVolumeClaim
		return n.get("/api/v1/namespaces/default/persistentvolumeclaims/gone", &c) == nil && c.DeletionTimestamp != nil
	})
	n.remove("first.yaml")
	n.awaitGone("first")
	n.eventually("one volume goes", func() bool { return len(n.volumes()) == 1 })
	n.apply("claims.yaml", kept)
	n.apply("second.yaml", writer("second", "kept"))
	n.awaitLine(n.awaitRunning("second"), "a", 0, "first was here")
	if got := n.objects("persistentvolumeclaims"); !slices.Equal(got, []string{"default/kept"}) {
		t.Errorf("claims %v", got)
	}
}

// TestRunWithClaims: what a run writes into a claim the next one reads, without an
// agent and beside one; ephemeral volumes, and claims that say so, go with the run.
func TestRunWithClaims(t *testing.T) {
	n := newNode(t)
	job := func(say string, claims ...string) string {
		return strings.Join(append(claims, podOf("job", "restartPolicy: Never",
			"volumes: [{name: v, persistentVolumeClaim: {claimName: stock}}, {name: e, ephemeral: {volumeClaimTemplate: {spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}}}}]",
			apps(sh("a", "cat /v/f 2>/dev/null; echo "+say+" >>/v/f; echo x >/e/x", "volumeMounts: [{name: v, mountPath: /v}, {name: e, mountPath: /e}]")))), "---\n")
	}
	data := strings.Replace(claim("stock", "ReadWriteOnce", ""), "{name: stock}", "{name: stock, namespace: space}", 1)
	in := func(manifest string) string {
		return strings.Replace(manifest, "{name: job}", "{name: job, namespace: space}", 1)
	}
	wants := func(got ran, lines ...string) {
		t.Helper()
		if got.code != 0 || !slices.Equal(got.lines(), lines) {
			t.Errorf("%s\nwant output %q", got, lines)
		}
	}
	const space = "apiVersion: v1\nkind: Namespace\nmetadata: {name: space}\n"
	got := n.foreground(in(job("once", space, data)))
	if got.code != 0 || !strings.Contains(got.stderr, "persistentvolumeclaim space/stock stays with its data when the run is over") {
		t.Error(got)
	}
	if !regexp.MustCompile(`(?m)^ *0\.\d{3}s .* space/stock stays with its data`).MatchString(got.stderr) {
		t.Errorf("no time since the start of the command: %s", got.stderr)
	}
	wants(n.foreground(in(job("twice", space, data))), "[a] once")
	if got := n.volumes(); len(got) != 1 {
		t.Errorf("volumes %v", got)
	}
	if got := n.foreground(in(job("never", space, strings.Replace(data, "ReadWriteOnce", "ReadWriteMany", 1)))); got.code != 1 || !strings.Contains(got.stderr, "spec is immutable after creation") {
		t.Error(got)
	}

	n.start()
	wants(n.foreground(in(job("beside", space, data))), "[a] once", "[a] twice")
	n.eventually("the ephemeral volume's claim is gone", func() bool {
		return slices.Equal(n.objects("persistentvolumeclaims"), []string{"space/stock"})
	})
	n.terminate()
	wants(n.foreground(in(job("last", space, goes(data)))), "[a] beside", "[a] once", "[a] twice")
	if got := n.volumes(); len(got) != 0 {
		t.Errorf("volumes %v", got)
	}
	for _, daemon := range []bool{false, true} {
		if daemon {
			n.start()
		}
		wants(n.foreground(strings.ReplaceAll(in(job("new", space, goes(data))), "stock", "other")), "")
		n.eventually("its volume goes", func() bool { return len(n.volumes()) == 0 })
	}
}
