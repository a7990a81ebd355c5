// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"encoding/pem"
	"slices"
	"testing"

	certificatesv1beta1 "k8s.io/api/certificates/v1beta1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

func block(text string) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte(text)}))
}

// someBundles are three: plain, and two of the signer x/y. Only their form is PEM.
func someBundles() []*certificatesv1beta1.ClusterTrustBundle {
	bundle := func(name, signer, label, text string) *certificatesv1beta1.ClusterTrustBundle {
		return &certificatesv1beta1.ClusterTrustBundle{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"live": label}},
			Spec: certificatesv1beta1.ClusterTrustBundleSpec{SignerName: signer, TrustBundle: text}}
	}
	return []*certificatesv1beta1.ClusterTrustBundle{
		bundle("plain", "", "", "text before\n"+block("b")+"between\n"+block("a")+block("b")),
		bundle("x:y:old", "x/y", "no", block("c")+block("a")),
		bundle("x:y:new", "x/y", "yes", block("d")+block("c")),
	}
}

func TestTrustAnchors(t *testing.T) {
	const none = "missing: combination of signerName and labelSelector matched zero ClusterTrustBundles"
	tests := map[string]struct{ source, want string }{
		"by name, each once and in order":  {"name: plain", "f 644 " + block("a") + block("b")},
		"of a signer, all":                 {"signerName: x/y, labelSelector: {}", "f 644 " + block("a") + block("c") + block("d")},
		"of a signer, those selected":      {"signerName: x/y, labelSelector: {matchLabels: {live: 'yes'}}", "f 644 " + block("c") + block("d")},
		"without a selector there is none": {"signerName: x/y", none},
		"of nobody":                        {"signerName: x/z, labelSelector: {}", none},
		"of nobody, optional":              {"signerName: x/z, labelSelector: {}, optional: true", "f 644 "},
		"no such bundle":                   {"name: x", `missing: while getting ClusterTrustBundle: clustertrustbundle.certificates.k8s.io "x" not found`},
		"no such bundle, optional":         {"name: x, optional: true", "f 644 "},
		"nothing asked for":                {"optional: true", "ClusterTrustBundle projection requires either name or signerName to be set"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			v := corev1.Volume{Name: "v"}
			if err := yaml.UnmarshalStrict([]byte("projected: {sources: [{clusterTrustBundle: {path: f, "+tt.source+"}}]}"), &v.VolumeSource); err != nil {
				t.Fatal(err)
			}
			objects := someObjects()
			objects.bundles = someBundles()
			p := projector{facts: &NodeFacts{}, objects: objects, pod: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns"}}}
			files, err := p.files(t.Context(), &v)
			got := show(files, err)
			if slices.Reverse(objects.bundles); got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
			if again, err := p.files(t.Context(), &v); show(again, err) != got {
				t.Errorf("in another order: %q", show(again, err))
			}
		})
	}
}

// TestAnySelectedBundleIsWatched: what a selector finds may become another.
func TestAnySelectedBundleIsWatched(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns"}}
	const volumes = `volumes:
- {name: named, projected: {sources: [{clusterTrustBundle: {name: b, path: f}}]}}
- {name: selected, projected: {sources: [{clusterTrustBundle: {signerName: x/y, path: f}}]}}
- {name: other, projected: {sources: [{configMap: {name: b}}]}}`
	if err := yaml.UnmarshalStrict([]byte(volumes), &pod.Spec); err != nil {
		t.Fatal(err)
	}
	for bundle, want := range map[string][]string{"b": {"named", "selected"}, "c": {"selected"}} {
		w := &worker{pod: pod, sources: sources{refs: referencesOf(pod)}}
		w.changed = make(chan struct{})
		w.objectChanged("", objectKey{TrustBundles, bundle})
		var stale []string
		for name := range w.sources.stale {
			stale = append(stale, name)
		}
		if slices.Sort(stale); !slices.Equal(stale, want) {
			t.Errorf("bundle %s: %v is written again, want %v", bundle, stale, want)
		}
	}
}
