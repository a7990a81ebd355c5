// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestInitContainersRunInOrderBeforeAppsInParallel lets every container write the
// kernel's clock into a shared volume, and proves the order by what they wrote.
func TestInitContainersRunInOrderBeforeAppsInParallel(t *testing.T) {
	n := startNode(t)
	stamp := func(name, between string) string {
		return fmt.Sprintf(`echo "%[1]s begin $(cut -d' ' -f1 /proc/uptime)" >>/v/order; %[2]s; echo "%[1]s end $(cut -d' ' -f1 /proc/uptime)" >>/v/order`, name, between)
	}
	// The apps wait for each other, some time at most, however long it takes to make them.
	await := func(what string) string {
		return fmt.Sprintf(`seq 600 | while read i; do %s && break; sleep 0.1; done`, what)
	}
	n.apply("order.yaml", podHead("order")+`
  restartPolicy: Never
  initContainers:
`+container("one", stamp("one", "sleep 1"))+container("two", stamp("two", "sleep 1"))+container("three", stamp("three", "true"))+`
  containers:
`+container("left", stamp("left", await("grep -q \"right begin\" /v/order")))+container("right", stamp("right", await("grep -q \"left begin\" /v/order")))+
		container("show", await("[ $(wc -l </v/order) = 10 ]")+"; cat /v/order")+`
  volumes: [{name: v, emptyDir: {}}]
`)
	pod := n.awaitPhase("order", corev1.PodSucceeded)
	at := map[string]float64{}
	var order []string
	for _, line := range n.log(pod, "show", 0) {
		var name, what string
		var when float64
		if _, err := fmt.Sscan(line, &name, &what, &when); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		at[name+" "+what] = when
		order = append(order, name+" "+what)
	}
	want := []string{"one begin", "one end", "two begin", "two end", "three begin", "three end"}
	if len(order) != 10 || !slices.Equal(order[:6], want) {
		t.Fatalf("order %q", order)
	}
	for _, app := range []string{"left", "right"} {
		if at[app+" begin"] < at["three end"] {
			t.Errorf("%s began before the last init container's end: %v", app, at)
		}
	}
	// The order of the lines, since two of them may come within one tick of the clock.
	if begun := order[6:8]; !slices.Contains(begun, "left begin") || !slices.Contains(begun, "right begin") {
		t.Errorf("one app ended before the other began: %q", order)
	}
	if got := pod.Status.InitContainerStatuses[1].State.Terminated; got == nil || got.Reason != "Completed" {
		t.Errorf("status of the second init container: %+v", got)
	}
}

// container is one of busybox with a shell command and the volume v.
func container(name, script string) string {
	return "  - {name: " + name + ", image: busybox, imagePullPolicy: IfNotPresent, command: [sh, -c, '" +
		strings.ReplaceAll(script, "'", "''") + "'], volumeMounts: [{name: v, mountPath: /v}]}\n"
}
