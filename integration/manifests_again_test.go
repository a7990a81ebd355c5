// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestManifestComesBackAtOnce removes a manifest and puts the same one back while
// its Pod is ending, again and again: the Pod, which has the same UID, must come
// back each time.
func TestManifestComesBackAtOnce(t *testing.T) {
	n := startNode(t)
	manifest := podHead("back") + `
  terminationGracePeriodSeconds: 0
  containers:
` + container("app", `trap "exit 0" TERM; while :; do sleep 0.05; done`) + `
  volumes: [{name: v, emptyDir: {}}]
`
	n.apply("back.yaml", manifest)
	started := func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodRunning && p.DeletionTimestamp == nil }
	first := n.awaitPod("back", "running", started)
	for range 5 {
		n.remove("back.yaml")
		n.eventually("the Pod is ending or gone", func() bool {
			pods := n.pods()
			pod, there := pods["back"]
			return pods != nil && (!there || pod.DeletionTimestamp != nil)
		})
		n.apply("back.yaml", manifest)
		again := n.awaitPod("back", "running again", func(p *corev1.Pod) bool {
			return started(p) && p.ResourceVersion != first.ResourceVersion && p.Status.ContainerStatuses[0].State.Running != nil &&
				p.Annotations["kubernetes.io/config.seen"] != first.Annotations["kubernetes.io/config.seen"]
		})
		if again.UID != first.UID {
			t.Fatalf("UID %s, was %s", again.UID, first.UID)
		}
		first = again
	}
}
