// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/minikubelet/minikubelet/api"
	"github.com/minikubelet/minikubelet/cgroups"
	"github.com/minikubelet/minikubelet/podmgr"
	"github.com/minikubelet/minikubelet/runtime/spec"
	"github.com/minikubelet/minikubelet/volumes"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

// fixedNode is a machine of two processors and 4 GiB with cgroup v2.
func fixedNode(t *testing.T) podmgr.NodeFacts {
	resolv := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(resolv, []byte("nameserver 127.0.0.1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	capacity := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("2"), corev1.ResourceMemory: resource.MustParse("4Gi"), corev1.ResourcePods: resource.MustParse("110"),
	}
	return podmgr.NodeFacts{
		NodeName: "node1", HostIPs: func() []string { return []string{"192.0.2.7"} }, Capacity: capacity, Allocatable: capacity,
		PodsDir: "/data/pods", NetnsDir: "/run/x/netns", LogDir: "/logs", ResolvConf: resolv, CgroupRoot: "/minikubelet",
		CgroupOptions: cgroups.Options{Mode: cgroups.V2, SwapControl: true, PidsLimit: 500},
		Node:          spec.Node{CgroupV2: true, OOMScoreAdjFloor: 0},
		ExampleIDs:    specs.LinuxIDMapping{HostID: 1 << 16, Size: 1 << 16},
	}
}

func TestPlanText(t *testing.T) {
	objects, err := loadManifest("testdata/plan.yaml", nil, io.Discard, "node1")
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range objects {
		o.Pod.UID = api.PodUID("node1", "/plan.yaml", []byte{byte(i)})
	}
	pods := podmgr.PreviewPods(fixedNode(t), volumes.New(volumes.Config{}), podsOf(objects))
	var text bytes.Buffer
	for i := range pods {
		planText{&text}.pod(&pods[i])
	}
	golden(t, "plan.txt", text.Bytes())
}

// A node whose agent lacks a capability cannot give it.
func TestPlanTellsOfMissingCapabilities(t *testing.T) {
	node := fixedNode(t)
	node.Node.Capabilities = []string{"CAP_CHOWN", "CAP_NET_ADMIN"}
	pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{
		Name: "c", Image: "busybox", SecurityContext: &corev1.SecurityContext{Capabilities: &corev1.Capabilities{Add: []corev1.Capability{"NET_ADMIN", "SYS_TIME"}}},
	}}}}
	previews := podmgr.PreviewPods(node, volumes.New(volumes.Config{}), []*corev1.Pod{pod})
	want := "container c: securityContext.capabilities.add: this node cannot give CAP_SYS_TIME, it is left out"
	if got := previews[0].Warnings; !slices.Contains(got, want) {
		t.Errorf("warnings %q, not %q", got, want)
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; go test -rewrite writes it anew. Got:\n%s", path, got)
	}
}

// The command itself: JSON has the complete specifications, and nothing is made.
func TestPlanCommand(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	var out bytes.Buffer
	cmd := root()
	cmd.SetOut(&out)
	cmd.SetArgs([]string{"plan", "--config", "/dev/null", "--data-dir", dir, "-o", "json", "-f", "../../examples/init-demo.yaml"})
	if err := cmd.Execute(); err != nil {
		t.Fatal(err)
	}
	var pods []podmgr.Preview
	if err := json.Unmarshal(out.Bytes(), &pods); err != nil {
		t.Fatal(err)
	}
	if len(pods) != 1 || len(pods[0].Apps) != 2 || pods[0].Apps[0].Spec.Linux.Seccomp == nil && !noSeccomp(t) {
		t.Errorf("unexpected preview: %s", out.String())
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the data directory was made: %v", err)
	}
}

// What a manifest has beside Pods is no Pod.
func TestPlanOfPodsAlone(t *testing.T) {
	var out bytes.Buffer
	cmd := root()
	cmd.SetOut(&out)
	cmd.SetArgs([]string{"plan", "--config", "/dev/null", "--data-dir", t.TempDir(), "-o", "json", "-f", "../../examples/data.yaml"})
	if err := cmd.Execute(); err != nil {
		t.Fatal(err)
	}
	var pods []podmgr.Preview
	if err := json.Unmarshal(out.Bytes(), &pods); err != nil || len(pods) != 1 {
		t.Errorf("%v, %d Pods: %s", err, len(pods), out.String())
	}
}

func noSeccomp(t *testing.T) bool {
	n, err := spec.DetectNode()
	if err != nil {
		t.Fatal(err)
	}
	return n.NoSeccomp
}
