// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"encoding/base64"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/minikubelet/minikubelet/runtime/image/imagetest"
)

// TestImageCommandsBesideDaemon has a running agent import, pull, list and remove
// images, for which Pods wait.
func TestImageCommandsBesideDaemon(t *testing.T) {
	n, r := newNode(t), newRegistry(t, "user", "secret")
	n.start()
	const late = "registry.example/late:v1"
	n.apply("late.yaml", imagePod("late", late, "Never"))
	n.awaitReason("late", "ErrImageNeverPull")
	if err := imagetest.BuildFile(n.path("late.tar"), imagetest.Options{}); err != nil {
		t.Fatal(err)
	}
	if got := n.images("import", "--name", late, n.path("late.tar")); !slices.Equal(got, []string{late}) {
		t.Errorf("imported %v", got)
	}
	n.awaitPhase("late", corev1.PodSucceeded)

	broken := n.path("broken.tar")
	if err := os.WriteFile(broken, []byte(strings.Repeat("no archive\n", 1<<20)), 0o600); err != nil { // more than is read of it
		t.Fatal(err)
	}
	if out, err := n.try("image", "import", broken); err == nil || !strings.Contains(out, broken+": ") {
		t.Errorf("imported what is no archive: %v\n%s", err, out)
	}

	r.push("app", "v1", 0)
	app := r.ref("app", "v1")
	if out, err := n.try("image", "pull", app); err == nil || !strings.Contains(out, app) {
		t.Errorf("pulled without credentials: %v\n%s", err, out)
	}
	auth := n.path("auth.json")
	config := fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, strings.TrimPrefix(r.URL, "http://"), base64.StdEncoding.EncodeToString([]byte("user:secret")))
	if err := os.WriteFile(auth, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := n.images("pull", "--registry-auth", auth, app); !slices.Equal(got, []string{app}) {
		t.Errorf("pulled %v", got)
	}
	if out, err := n.try("image", "pull", "--registry-hosts", n.path("hosts"), app); err == nil || !strings.Contains(out, "registryHosts") {
		t.Errorf("mirrors that the agent does not have: %v\n%s", err, out)
	}
	if got := n.images("ls"); !slices.Contains(got, app) || !slices.Contains(got, late) {
		t.Errorf("images %v", got)
	}

	if out, err := n.try("image", "rm", late); err == nil || !strings.Contains(out, "in use by default/late-"+nodeName) {
		t.Errorf("removed an image in use: %v\n%s", err, out)
	}
	if out, err := n.try("image", "rm", app); err != nil || !strings.Contains(out, "removed "+app) {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := n.try("image", "rm", app); err == nil || !strings.Contains(out, "not on this node") {
		t.Errorf("removed what is not there: %v\n%s", err, out)
	}
}
