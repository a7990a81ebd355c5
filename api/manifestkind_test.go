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
`), "n1")
	if len(m.Problems) > 0 || len(m.Objects) != 2 {
		t.Fatal(m)
	}
	if o := m.Objects[0].Other; o.GetNamespace() != "default" || o.GetObjectKind().GroupVersionKind().Kind != "Secret" {
		t.Error(o)
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
