// SPDX-License-Identifier: Apache-2.0

package api

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func messages(problems []Problem) []string {
	var s []string
	for _, p := range problems {
		s = append(s, p.Error())
	}
	return s
}

func TestLoadReportsEverythingAtOnce(t *testing.T) {
	manifest := small("ok") + "---\n" + small("a") + "    tty: 5\n    securityContext: {windowsOptions: {}}\n  restartPolicy: Sometimes\n---\n" +
		"apiVersion: v1\nkind: Pod\nmetadata: {name: b}\nspec: {containers: [{image: busybox, volumeMounts: [{name: v, mountPath: /v}]}]}\n"
	m := Load("pods.yaml", strings.NewReader(manifest), "node1")
	want := []string{
		"pods.yaml: document 2, line 18: spec.containers[0].tty: expected true or false, got the number 5",
		"pods.yaml: document 2, line 19: spec.containers[0].securityContext.windowsOptions: Forbidden: this node runs Linux containers only",
		`pods.yaml: document 2, line 20: spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never"`,
		"pods.yaml: document 3, line 25: spec.containers[0].name: Required value",
		`pods.yaml: document 3, line 25: spec.containers[0].volumeMounts[0].name: Not found: "v"`,
	}
	if got := messages(m.Problems); !slices.Equal(got, want) {
		t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if len(m.Objects) > 0 {
		t.Error("a manifest with problems gave objects")
	}
}

// A field that could not be decoded is not said to be missing as well.
func TestDecodingFaultsHideTheirConsequences(t *testing.T) {
	m := Load("f", strings.NewReader("apiVersion: v1\nkind: Pod\nmetadata: {name: 1}\nspec:\n  containers:\n  - name: [c]\n    image: 3\n"), "node1")
	want := []string{
		"f: document 1, line 3: metadata.name: expected a string, got the number 1; put it in quotes",
		"f: document 1, line 6: spec.containers[0].name: expected a string, got a list",
		"f: document 1, line 7: spec.containers[0].image: expected a string, got the number 3; put it in quotes",
	}
	if got := messages(m.Problems); !slices.Equal(got, want) {
		t.Errorf("got:\n%s", strings.Join(got, "\n"))
	}
}

func TestLoadDefaults(t *testing.T) {
	m := Load("f", strings.NewReader(small("a")), "node1")
	if len(m.Problems) > 0 {
		t.Fatal(messages(m.Problems))
	}
	pod := m.Objects[0].Pod
	if pod.Namespace != "default" || pod.Spec.RestartPolicy != corev1.RestartPolicyAlways || *pod.Spec.TerminationGracePeriodSeconds != 30 ||
		pod.Spec.Containers[0].ImagePullPolicy != corev1.PullAlways || pod.Spec.Containers[0].TerminationMessagePath != "/dev/termination-log" ||
		pod.Status.Phase != corev1.PodPending || pod.Kind != "Pod" {
		t.Errorf("%+v", pod)
	}
}

func TestBadNames(t *testing.T) {
	for _, name := range []string{"../x", "..", "a/b", "A", "a_b", "a\\b", "", strings.Repeat("a", 300)} {
		for _, field := range []string{"name", "namespace"} {
			if field == "namespace" && name == "" {
				continue // the default namespace
			}
			meta := map[string]string{"name": "ok", "namespace": "ok", field: name}
			manifest := "apiVersion: v1\nkind: Pod\nmetadata: {name: '" + meta["name"] + "', namespace: '" + meta["namespace"] + "'}\nspec: {containers: [{name: c, image: b}]}\n"
			m := Load("f", strings.NewReader(manifest), "node1")
			if len(m.Problems) == 0 || m.Problems[0].Field != "metadata."+field {
				t.Errorf("%s %q: %v", field, name, messages(m.Problems))
			}
		}
	}
	for _, spec := range []string{
		"containers: [{name: ../c, image: b}]",
		"containers: [{name: c, image: b}], volumes: [{name: ../v, emptyDir: {}}]",
		"containers: [{name: c, image: b}], volumes: [{name: v, hostPath: {path: /a/../../b}}]",
		"containers: [{name: c, image: b}], hostname: ../h",
	} {
		m := Load("f", strings.NewReader("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {"+spec+"}\n"), "node1")
		if len(m.Problems) == 0 {
			t.Errorf("%s was taken", spec)
		}
	}
}

func TestSamePodTwice(t *testing.T) {
	m := Load("f", strings.NewReader(small("a")+"---\n"+small("a")), "node1")
	if got := messages(m.Problems); len(got) != 1 || got[0] != "f: document 2, line 13: metadata.name: pod default/a is already in document 1, line 1 of this file" {
		t.Errorf("got %v", got)
	}
}

func TestGenerateNameNeedsTheAPI(t *testing.T) {
	m := Load("f", strings.NewReader(strings.Replace(small("a-"), "name: a-", "generateName: a-", 1)), "node1")
	if got := messages(m.Problems); len(got) != 1 || !strings.Contains(got[0], "metadata.name: a Pod from a manifest needs a fixed name") {
		t.Errorf("got %v", got)
	}
}

// What kubectl get prints can be put back in.
func TestServerFieldsAreDroppedAndSaid(t *testing.T) {
	manifest := strings.Replace(small("a"), "metadata:\n", "metadata:\n  uid: x\n  resourceVersion: \"3\"\n  generation: 2\n  creationTimestamp: 2026-01-01T00:00:00Z\n  selfLink: /x\n", 1) +
		"status: {phase: Running}\n"
	m := Load("f", strings.NewReader(manifest), "node1")
	if len(m.Problems) > 0 {
		t.Fatal(messages(m.Problems))
	}
	if len(m.Warnings) != 6 {
		t.Errorf("warnings: %v", messages(m.Warnings))
	}
	pod := m.Objects[0].Pod
	if pod.UID != "" || pod.ResourceVersion != "" || !pod.CreationTimestamp.IsZero() || pod.Status.Phase != corev1.PodPending {
		t.Errorf("kept: %+v", pod.ObjectMeta)
	}
}
