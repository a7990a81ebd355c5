// SPDX-License-Identifier: Apache-2.0

package api

import (
	"strings"
	"testing"
)

func TestManifestsHoldWhatPodsUse(t *testing.T) {
	m := Load("f", strings.NewReader(`
{apiVersion: v1, kind: Secret, metadata: {name: s}, stringData: {k: text}, data: {l: dGV4dA==}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: space}}
---
{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: keeps}, provisioner: minikubelet/local-path, reclaimPolicy: Retain}
---
{apiVersion: v1, kind: PersistentVolume, metadata: {name: v}, spec: {capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce], hostPath: {path: /srv}}}
---
{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: c, annotations: {minikubelet/when-removed: Delete}}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}
`), "n1")
	if len(m.Problems) > 0 || len(m.Objects) != 5 {
		t.Fatal(m)
	}
	if o := m.Objects[0].Other; o.GetNamespace() != "default" || o.GetObjectKind().GroupVersionKind().Kind != "Secret" {
		t.Error(o)
	}
}

func TestManifestsOfVolumesAreChecked(t *testing.T) {
	for text, want := range map[string]string{
		"{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: c, annotations: {minikubelet/when-removed: Drop}}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}": `metadata.annotations[minikubelet/when-removed]: Unsupported value: "Drop": supported values: "Retain", "Delete"`,
		"{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: c}, spec: {accessModes: [ReadWriteOnce]}}":                                                                                       "spec.resources[storage]: Required value",
		"{apiVersion: v1, kind: PersistentVolume, metadata: {name: v}, spec: {capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce]}}":                                                                  "spec: Required value: must specify a volume type",
		"{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: c}}":                                                                                                                       "provisioner: Required value",
		"{apiVersion: v1, kind: StorageClass, metadata: {name: c}, provisioner: p}":                                                                                                                      "kind StorageClass (v1) is not supported",
	} {
		m := Load("f", strings.NewReader(text), "n1")
		if len(m.Problems) != 1 || !strings.Contains(m.Problems[0].Error(), want) {
			t.Errorf("%s: %v, want %s", text, m.Problems, want)
		}
	}
}

func TestProblemsDoNotTellSecrets(t *testing.T) {
	for _, text := range []string{
		"{apiVersion: v1, kind: Secret, metadata: {name: s}, data: {k: hunter2!}}",
		"{apiVersion: v1, kind: Secret, metadata: {name: s}, data: hunter2}",
		"{apiVersion: v1, kind: Secret, metadata: {name: s}, stringData: {k: 4711}}",
		"{apiVersion: v1, kind: Secret, metadata: {name: s}, type: kubernetes.io/dockerconfigjson, stringData: {.dockerconfigjson: hunter2}}",
	} {
		m := Load("f", strings.NewReader(text), "n1")
		if len(m.Problems) == 0 {
			t.Errorf("%s: no problem", text)
		}
		for _, p := range m.Problems {
			if strings.Contains(p.Error(), "hunter2") || strings.Contains(p.Error(), "4711") {
				t.Error(p)
			}
		}
	}
}
