// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"os"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/minikubelet/minikubelet/runtime/image/imagetest"
)

// TestArchiveComesWhileServing drops an image archive on a node whose Pod waits
// for the image.
func TestArchiveComesWhileServing(t *testing.T) {
	n := startNode(t)
	n.apply("late.yaml", podHead("late")+`
  restartPolicy: Never
  containers:
  - {name: app, image: registry.example/late:v1, imagePullPolicy: Never, command: [echo, here]}
`)
	n.awaitPod("late", "ErrImageNeverPull", func(p *corev1.Pod) bool {
		s := p.Status.ContainerStatuses
		return len(s) == 1 && s[0].State.Waiting != nil && s[0].State.Waiting.Reason == "ErrImageNeverPull"
	})
	if err := imagetest.BuildFile(n.path("late.tar"), imagetest.Options{Name: "registry.example/late:v1"}); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(n.path("late.tar"), n.path("data/images/late.tar")); err != nil {
		t.Fatal(err)
	}
	pod := n.awaitPhase("late", corev1.PodSucceeded)
	if got := n.log(pod, "app", 0); len(got) != 1 || got[0] != "here" {
		t.Errorf("output %q", got)
	}
}
