// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"strings"
	"testing"
)

const deployment = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: busybox}]}
`

// TestKubectlControllers: what tutorials say of Deployments and their like reads well
// on a node that has no controllers.
func TestKubectlControllers(t *testing.T) {
	kubectlPath(t)
	n := startNode(t)
	refused := func(want, stdin string, args ...string) {
		t.Helper()
		out, err := n.tryKubectl(stdin, args...)
		if err == nil || strings.TrimSpace(out) != want {
			t.Errorf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	const instead = "this agent runs Pods and has no controller for the kind Deployment: make a Pod of its spec.template instead"
	refused(`Error from server (MethodNotAllowed): error when creating "STDIN": `+instead, deployment, "apply", "-f", "-")
	refused(`Error from server (MethodNotAllowed): error when creating "STDIN": `+instead, deployment, "apply", "--dry-run=server", "-f", "-")
	refused(`Error from server (MethodNotAllowed): `+instead, deployment, "apply", "--server-side", "-f", "-")
	refused(`error: failed to create deployment: `+instead, "", "create", "deployment", "web", "--image=busybox")
	refused(`Error from server (NotFound): error when deleting "STDIN": deployments.apps "web" not found`, deployment, "delete", "-f", "-")
	refused(`Error from server (NotFound): deployments.apps "web" not found`, "", "scale", "deployment", "web", "--replicas=3")
	refused(`Error from server (NotFound): deployments.apps "web" not found`, "", "rollout", "status", "deployment/web")
	n.expect(`^No resources found in default namespace\.\n$`, "get", "deploy")
	n.expect(`^No resources found in default namespace\.\n$`, "get", "deploy,rs,sts,ds,rc,job,cj,hpa,ing")
	n.expect(`GROUP: apps KIND: Deployment VERSION: v1 FIELD: replicas <integer>`, "explain", "deployment.spec.replicas")
	n.expect(`deployments deploy apps/v1 true Deployment`, "api-resources", "--categories=all")
	n.apply("ticker.yaml", ticker)
	n.eventually("get all shows the Pod", func() bool { return strings.Contains(n.kubectl("get", "all", "--no-headers"), "ticker-n1") })
	n.expect(`^pod/ticker-n1 .*\n$`, "get", "all", "--no-headers")
}
