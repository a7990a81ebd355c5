// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestPodsReachTheAPI has Pods, one of them with hostNetwork, ask the API with the
// tokens mounted into them, before and after a restart of the agent.
func TestPodsReachTheAPI(t *testing.T) {
	kubectlPath(t)
	build := exec.Command("go", "build", "-o", t.TempDir()+"/apiclient", "./testdata/apiclient")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	n := newNode(t)
	config := n.path("config.yaml")
	if err := os.WriteFile(config, []byte("listenPods: true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	n.flags = append(n.flags, "--config", config)
	n.start()
	n.kubectl("create", "role", "reader", "--verb=get", "--resource=secrets", "--resource-name=mine")
	n.kubectl("create", "rolebinding", "reader", "--role=reader", "--serviceaccount=default:default")
	n.kubectl("create", "secret", "generic", "mine")
	n.kubectl("create", "secret", "generic", "other")
	n.kubectl("create", "secret", "generic", "mine", "-n", "kube-system")
	client := "volumes: [{name: client, hostPath: {path: " + build.Args[3] + "}}]"
	app := apps(busybox("app", "command: [sleep, '1000']", "volumeMounts: [{name: client, mountPath: /apiclient}]"))
	n.must(podOf("own", client, app))
	n.must(podOf("host", "hostNetwork: true", client, app))
	n.must(podOf("none", "automountServiceAccountToken: false", app2))
	n.awaitRunning("own")
	n.awaitRunning("host")
	n.awaitRunning("none")
	if out, err := n.tryKubectl("", "exec", "none", "--", "ls", "/var/run/secrets/kubernetes.io"); err == nil {
		t.Errorf("a Pod that wants no token has %s", out)
	}
	paths := []string{"/api/v1/namespaces/default/secrets/mine", "/api/v1/namespaces/default/secrets/other", "/api/v1/namespaces/kube-system/secrets/mine"}
	want := paths[0] + " 200\n" + paths[1] + " 403\n" + paths[2] + " 403\n"
	ask := func() {
		t.Helper()
		for _, pod := range []string{"own", "host"} {
			if got := n.kubectl(append([]string{"exec", pod, "--", "/apiclient"}, paths...)...); !strings.HasSuffix(got, want) {
				t.Errorf("%s got %s", pod, got)
			}
		}
	}
	ask()
	n.terminate()
	n.start()
	ask()
}

const app2 = "containers: [{name: app, image: busybox, imagePullPolicy: IfNotPresent, command: [sleep, '1000']}]"
