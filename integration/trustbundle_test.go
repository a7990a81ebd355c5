// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"os"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/minikubelet/minikubelet/apiserver/pki"
)

// newCA is a CA certificate that nothing else has.
func newCA(t *testing.T) string {
	t.Helper()
	d, err := pki.Open(t.TempDir(), func() []string { return nil })
	if err != nil {
		t.Fatal(err)
	}
	return string(d.CA())
}

func trustBundle(name, signer string, cas ...string) string {
	text := strings.ReplaceAll(strings.Join(cas, "a remark\n"), "\n", "\n    ")
	return "apiVersion: certificates.k8s.io/v1beta1\nkind: ClusterTrustBundle\nmetadata: {name: \"" + name + "\", labels: {of: \"" + strings.ReplaceAll(name, ":", ".") + "\"}}\n" +
		"spec:\n  signerName: \"" + signer + "\"\n  trustBundle: |\n    " + text + "\n"
}

// TestTrustBundleVolumes: a Pod waits for its trust anchors, from the API and from a
// manifest, and sees them change, whatever brings the change.
func TestTrustBundleVolumes(t *testing.T) {
	kubectlPath(t)
	n := startNode(t)
	cas := []string{newCA(t), newCA(t), newCA(t)}
	const sources = `volumes:
  - name: t
    projected:
      sources:
      - clusterTrustBundle: {name: plain, path: named/ca.crt}
      - clusterTrustBundle: {signerName: example.com/mine, labelSelector: {}, path: all.crt}
      - clusterTrustBundle: {signerName: example.com/mine, labelSelector: {matchLabels: {of: example.com.mine.b}}, path: b.crt, optional: true}
      - clusterTrustBundle: {name: nothing, path: nothing.crt, optional: true}`
	n.applied(podOf("reader", "restartPolicy: Always", apps(sh("a", forever, "volumeMounts: [{name: t, mountPath: /t}, {name: t, mountPath: /one.crt, subPath: named/ca.crt}]")), sources))
	n.told("reader", `FailedMount: MountVolume.SetUp failed for volume "t" : [while getting ClusterTrustBundle: clustertrustbundle.certificates.k8s.io "plain" not found, `+
		`combination of signerName and labelSelector matched zero ClusterTrustBundles]`)
	n.awaitPod("reader", "waits", func(p *corev1.Pod) bool { return waits(p, "a", "ContainerCreating") })
	n.apply("plain.yaml", trustBundle("plain", "", cas[0], cas[1]))
	n.applied(trustBundle("example.com:mine:a", "example.com/mine", cas[1]))
	pod := n.awaitRunning("reader")

	// has waits until a file of the volume has just these certificates, in any order,
	// and nothing between them.
	has := func(file string, want ...string) {
		t.Helper()
		n.eventually(file+" has its certificates", func() bool {
			text, err := os.ReadFile(n.path("data/pods", string(pod.UID), "volumes/kubernetes.io~projected/t", file))
			got := slices.DeleteFunc(strings.SplitAfter(string(text), "-----END CERTIFICATE-----\n"), func(s string) bool { return s == "" })
			slices.Sort(got)
			return err == nil && slices.Equal(got, slices.Sorted(slices.Values(want)))
		})
	}
	has("named/ca.crt", cas[:2]...)
	has("all.crt", cas[1])
	has("b.crt")
	has("nothing.crt")
	if out := n.kubectl("exec", "reader", "--", "sh", "-c", "cmp /t/named/ca.crt /one.crt && grep -c BEGIN /t/named/ca.crt; stat -Lc %a /t/all.crt; (echo x >/t/all.crt) 2>&1; true"); !strings.HasPrefix(out, "2\n644\n") || !strings.Contains(out, "Read-only") {
		t.Errorf("in the container: %q", out)
	}

	n.applied(trustBundle("example.com:mine:b", "example.com/mine", cas[2], cas[1])) // what another has, too
	has("all.crt", cas[1:]...)
	has("b.crt", cas[1:]...)
	n.kill()
	n.apply("plain.yaml", trustBundle("plain", "", cas[2]))
	n.start()
	has("named/ca.crt", cas[2])
	n.kubectl("delete", "clustertrustbundle", "example.com:mine:b")
	has("all.crt", cas[1])
	has("b.crt")
	n.remove("plain.yaml")
	n.told("reader", `FailedMount: MountVolume.SetUp failed for volume "t" : while getting ClusterTrustBundle: clustertrustbundle.certificates.k8s.io "plain" not found`)
	has("named/ca.crt", cas[2])
	if p := n.pods()["reader"]; status(&p, "a").RestartCount != 0 {
		t.Errorf("the container was restarted for its volume: %+v", status(&p, "a"))
	}
	n.expect("NAME SIGNERNAME\nexample.com:mine:a example.com/mine\n", "get", "clustertrustbundles")
	n.kubectl("delete", "pod", "reader")
}

// TestRunBringsTrustBundles: by itself, and to an agent that runs already.
func TestRunBringsTrustBundles(t *testing.T) {
	n := newNode(t)
	manifest := trustBundle("brought", "", newCA(t)) + "---\n" + podOf("once", "restartPolicy: Never", apps(sh("a", "grep -c BEGIN /v/f", onV)),
		"volumes: [{name: v, projected: {sources: [{clusterTrustBundle: {name: brought, path: f}}]}}]")
	for range 2 {
		if got := n.foreground(manifest); got.code != 0 || !strings.Contains(got.stdout, "1") {
			t.Error(got)
		}
		if n.daemon == nil {
			n.start()
		}
	}
	var list struct{ Items []corev1.ConfigMap }
	if err := n.get("/apis/certificates.k8s.io/v1beta1/clustertrustbundles", &list); err != nil || len(list.Items) != 0 {
		t.Errorf("left: %+v, %v", list.Items, err)
	}
}
