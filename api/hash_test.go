// SPDX-License-Identifier: Apache-2.0

package api

import (
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func containerOf(t *testing.T, more string) *corev1.Container {
	t.Helper()
	objects, problems := decodeSound("f", strings.NewReader(small("a")+more))
	if len(problems) > 0 {
		t.Fatal(messages(problems))
	}
	return &objects[0].Pod.Spec.Containers[0]
}

func TestContainerHash(t *testing.T) {
	// The value itself is a promise: a new release must find its containers again.
	const want = "670135950767a006"
	base := containerOf(t, "")
	if got := ContainerHash(base); got != want {
		t.Errorf("got %s, want %s: running containers would be restarted on upgrade", got, want)
	}
	same := []string{
		"    command: []\n", "    securityContext: {}\n", "    securityContext: {procMount: Default}\n", "    terminationMessagePath: /dev/termination-log\n",
		"    resources: {limits: {cpu: 1}}\n", "    imagePullPolicy: Always\n", "    ports: [{containerPort: 1}]\n", "    livenessProbe: {exec: {command: [a]}}\n",
		"    lifecycle: {}\n", "    terminationMessagePolicy: File\n",
	}
	for _, s := range same {
		if got := ContainerHash(containerOf(t, s)); got != ContainerHash(base) {
			t.Errorf("%s changed the hash", strings.TrimSpace(s))
		}
	}
	seen := map[string]string{ContainerHash(base): "nothing"}
	different := []string{
		"    command: [a]\n", "    args: [a]\n", "    command: [a, '']\n", "    workingDir: /\n", "    env: [{name: A}]\n", "    env: [{name: A, value: b}]\n",
		"    env: [{name: A, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]\n", "    tty: true\n", "    stdin: true\n", "    stdinOnce: true\n",
		"    securityContext: {privileged: false}\n", "    securityContext: {runAsUser: 0}\n", "    volumeMounts: [{name: a, mountPath: /a}]\n",
		"    volumeMounts: [{name: a, mountPath: /a, readOnly: true}]\n", "    terminationMessagePath: /x\n", "    envFrom: [{prefix: a}]\n",
		"    volumeDevices: [{name: a, devicePath: /a}]\n",
	}
	for _, d := range different {
		hash := ContainerHash(containerOf(t, d))
		if other, dup := seen[hash]; dup {
			t.Errorf("%s has the hash of %s", strings.TrimSpace(d), other)
		}
		seen[hash] = strings.TrimSpace(d)
	}
	renamed, reimaged := *base, *base
	renamed.Name, reimaged.Image = "other", "other"
	if ContainerHash(&renamed) == ContainerHash(base) || ContainerHash(&reimaged) == ContainerHash(base) {
		t.Error("name or image does not count")
	}
}

func TestDefaultingKeepsTheHash(t *testing.T) {
	objects, problems := decodeSound("f", strings.NewReader(full))
	if len(problems) > 0 {
		t.Fatal(messages(problems))
	}
	pod := objects[0].Pod
	before := []string{ContainerHash(&pod.Spec.Containers[0]), ContainerHash(&pod.Spec.InitContainers[0])}
	Default(pod)
	if after := []string{ContainerHash(&pod.Spec.Containers[0]), ContainerHash(&pod.Spec.InitContainers[0])}; !reflect.DeepEqual(before, after) {
		t.Errorf("before %v, after %v", before, after)
	}
}

// A field that Kubernetes adds to containers must be put on one of the two sides.
func TestEveryContainerFieldIsHashedOrLeftOut(t *testing.T) {
	leftOut := map[string]bool{
		"Ports": true, "Resources": true, "ResizePolicy": true, "RestartPolicy": true, "RestartPolicyRules": true, "LivenessProbe": true, "ReadinessProbe": true,
		"StartupProbe": true, "Lifecycle": true, "TerminationMessagePolicy": true, "ImagePullPolicy": true,
	}
	hashed := map[string]bool{
		"Name": true, "Image": true, "Command": true, "Args": true, "WorkingDir": true, "EnvFrom": true, "Env": true, "VolumeMounts": true, "VolumeDevices": true,
		"TerminationMessagePath": true, "SecurityContext": true, "Stdin": true, "StdinOnce": true, "TTY": true,
	}
	typ := reflect.TypeFor[corev1.Container]()
	for i := range typ.NumField() {
		if name := typ.Field(i).Name; leftOut[name] == hashed[name] {
			t.Errorf("Container.%s: hashed %v, left out %v", name, hashed[name], leftOut[name])
		}
	}
}

func TestPodUID(t *testing.T) {
	uid := PodUID("node1", "a.yaml", []byte("{}"))
	if uid != PodUID("node1", "a.yaml", []byte("{}")) || len(uid) != 36 || uid[14] != '8' {
		t.Errorf("uid %s", uid)
	}
	for _, other := range [][3]string{{"node2", "a.yaml", "{}"}, {"node1", "b.yaml", "{}"}, {"node1", "a.yaml", "{ }"}, {"node1a", ".yaml", "{}"}} {
		if PodUID(other[0], other[1], []byte(other[2])) == uid {
			t.Errorf("%v has the same UID", other)
		}
	}
}
