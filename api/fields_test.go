// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var update = flag.Bool("update", false, "rewrite docs/fields.md")

// TestEveryFieldIsClassified walks the Go type of a Pod. A field that Kubernetes
// adds fails here until the table says what becomes of it.
func TestEveryFieldIsClassified(t *testing.T) {
	w := walker{rules: map[string]rule{}}
	for _, r := range fields {
		if _, twice := w.rules[r.path]; twice {
			t.Errorf("%s is classified twice", r.path)
		}
		w.rules[r.path] = r
	}
	used := map[string]bool{}
	visit(t, &w, reflect.TypeFor[corev1.Pod](), "", used)
	for path := range w.rules {
		if !used[path] {
			t.Errorf("%s: no such field, or a rule above it hides this one", path)
		}
	}
}

func visit(t *testing.T, w *walker, typ reflect.Type, path string, used map[string]bool) {
	if _, ok := w.rule(path); ok {
		if _, own := w.rules[path]; !own {
			path = strings.NewReplacer("initContainers", "containers", "ephemeralContainers", "containers").Replace(path)
		}
		used[path] = true
		return
	}
	switch {
	case typ.Kind() == reflect.Pointer:
		visit(t, w, typ.Elem(), path, used)
	case typ.Kind() == reflect.Slice:
		visit(t, w, typ.Elem(), path+"[]", used)
	case typ == reflect.TypeFor[corev1.ResourceList]():
		for _, name := range append([]string{"hugepages-*", "*"}, nodeResources...) {
			visit(t, w, typ.Elem(), path+"["+name+"]", used)
		}
	case typ.Kind() == reflect.Struct && typ.NumField() > 0 && typ != reflect.TypeFor[resource.Quantity]() && typ != reflect.TypeFor[metav1.Time]():
		for i := range typ.NumField() {
			name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			switch {
			case name != "":
				visit(t, w, typ.Field(i).Type, join(path, name), used)
			default:
				visit(t, w, typ.Field(i).Type, path, used)
			}
		}
	default:
		t.Errorf("%s (%s) is not classified in fields.go", path, typ)
	}
}

func TestReasonsAreGiven(t *testing.T) {
	for _, r := range fields {
		if r.level != Supported && r.note == "" {
			t.Errorf("%s is %s without a reason", r.path, r.level)
		}
	}
}

// TestFieldTableIsInTheDocuments keeps docs/fields.md in step: run with -update.
func TestFieldTableIsInTheDocuments(t *testing.T) {
	const name = "../docs/fields.md"
	want := fieldsDocument()
	if *update {
		if err := os.MkdirAll("../docs", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is out of date: go test ./api -run %s -update", name, t.Name())
	}
}

func fieldsDocument() []byte {
	var b bytes.Buffer
	b.WriteString("# Fields of a Pod\n\n" +
		"Written by `go test ./api -run TestFieldTableIsInTheDocuments -update` from `api/fields.go`; do not edit.\n\n" +
		"A path stands for everything below it. Paths below `spec.containers[]` hold for `spec.initContainers[]` and\n" +
		"`spec.ephemeralContainers[]` too, unless those have a line of their own or Kubernetes does not allow them there.\n\n" +
		"- **supported**: does what Kubernetes documents\n" +
		"- **no effect**: accepted; any value means the same on this node\n" +
		"- **warned about**: accepted, and the user is told that it has no effect\n" +
		"- **refused**: a Pod that sets it is not taken\n\n" +
		"| field | | |\n|---|---|---|\n")
	for _, r := range fields {
		note := r.note
		if len(r.accept) > 0 {
			note = fmt.Sprintf("supported: `%s`; otherwise %s", strings.Join(r.accept, "`, `"), note)
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", r.path, r.level, note)
	}
	return b.Bytes()
}

// full is a Pod that sets, to honoured values, most of what is supported.
const full = `
apiVersion: v1
kind: Pod
metadata: {name: full, namespace: prod, labels: {a: b}, annotations: {c: d}}
spec:
  restartPolicy: OnFailure
  terminationGracePeriodSeconds: 5
  hostNetwork: false
  shareProcessNamespace: true
  hostname: h
  subdomain: s
  hostAliases: [{ip: 10.0.0.1, hostnames: [x]}]
  dnsPolicy: None
  dnsConfig: {nameservers: [10.0.0.2]}
  nodeName: node1
  schedulerName: default-scheduler
  serviceAccountName: default
  automountServiceAccountToken: false
  enableServiceLinks: true
  tolerations: [{operator: Exists}]
  os: {name: linux}
  hostUsers: false
  setHostnameAsFQDN: false
  resources: {requests: {cpu: "1"}, limits: {memory: 1Gi}}
  activeDeadlineSeconds: 5
  securityContext: {runAsUser: 0, runAsGroup: 1, supplementalGroups: [2], supplementalGroupsPolicy: Strict, fsGroup: 3, sysctls: [{name: kernel.shm_rmid_forced, value: "1"}], seccompProfile: {type: RuntimeDefault}}
  initContainers:
  - {name: i, image: busybox, command: ["true"]}
  - {name: sidecar, image: busybox, restartPolicy: Always}
  containers:
  - name: c
    image: busybox
    command: [sh]
    args: [-c, "true"]
    workingDir: /tmp
    tty: true
    imagePullPolicy: Never
    ports: [{name: http, containerPort: 80, hostPort: 8080, hostIP: 127.0.0.1, protocol: TCP}]
    env:
    - {name: A, value: b}
    - {name: NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: M, valueFrom: {resourceFieldRef: {resource: limits.memory}}}
    resources: {requests: {cpu: 100m, memory: 16Mi}, limits: {memory: 32Mi}}
    terminationMessagePath: /tmp/x
    terminationMessagePolicy: FallbackToLogsOnError
    volumeMounts:
    - {name: e, mountPath: /e, readOnly: true, recursiveReadOnly: IfPossible}
    - {name: m, mountPath: /m, mountPropagation: HostToContainer}
    - {name: h, mountPath: /h}
    - {name: e, mountPath: /s, subPath: a/b}
    - {name: e, mountPath: /t, subPathExpr: $(NAME)}
    securityContext: {capabilities: {add: [NET_ADMIN], drop: [ALL]}, runAsNonRoot: false, readOnlyRootFilesystem: true, procMount: Unmasked, seccompProfile: {type: Localhost, localhostProfile: a/b.json}, appArmorProfile: {type: Localhost, localhostProfile: web}}
  volumes:
  - {name: e, emptyDir: {}}
  - {name: m, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
  - {name: h, hostPath: {path: /tmp, type: Directory}}
`

func TestSupportedFieldsPassInSilence(t *testing.T) {
	m := Load("full.yaml", strings.NewReader(full), "node1")
	for _, p := range slices.Concat(m.Problems, m.Warnings) {
		t.Error(p.Error())
	}
	if len(m.Objects) != 1 {
		t.Errorf("%d objects", len(m.Objects))
	}
}

func TestUnsupportedFields(t *testing.T) {
	// Each line is put below spec; want is the beginning of the error, or of the
	// warning when it starts with "warning ".
	tests := []struct{ spec, want string }{
		{"nodeName: other", `spec.nodeName: Forbidden: "other": the Pod is meant for another node; supported: node1`},
		{"securityContext: {seccompProfile: {type: Localhost, localhostProfile: ../a}}", `spec.securityContext.seccompProfile.localhostProfile`},
		{"securityContext: {appArmorProfile: {type: RuntimeDefault, localhostProfile: a}}", "spec.securityContext.appArmorProfile.localhostProfile"},
		{"hostnameOverride: a.b\n  setHostnameAsFQDN: true", "spec.hostnameOverride"},
		{"securityContext: {seLinuxOptions: {level: s0}}", "warning spec.securityContext.seLinuxOptions: has no effect"},
		{"schedulerName: mine", "warning spec.schedulerName: has no effect"},
		{"volumes: [{name: v, projected: {sources: [{podCertificate: {signerName: x/y, keyType: ED25519, keyPath: z}}]}}]", "spec.volumes[0].projected.sources[0].podCertificate: Forbidden"},
		{"volumes: [{name: v, emptyDir: {medium: Floppy}}]", "spec.volumes[0].emptyDir.medium: Forbidden"},
		{"volumes: [{name: v, emptyDir: {medium: HugePages-1e999999999}}]", "spec.volumes[0].emptyDir.medium: Forbidden"},
		{"initContainers: [{name: i, image: b, securityContext: {windowsOptions: {}}}]", "spec.initContainers[0].securityContext.windowsOptions: Forbidden"},
		{"CONTAINER resources: {limits: {nvidia.com/gpu: 1}}", "spec.containers[0].resources.limits[nvidia.com/gpu]: Forbidden: this node has no such"},
		{"CONTAINER securityContext: {windowsOptions: {}}", "spec.containers[0].securityContext.windowsOptions: Forbidden"},
	}
	for _, tt := range tests {
		t.Run(tt.spec, func(t *testing.T) {
			container, spec := "", tt.spec
			if before, after, ok := strings.Cut(tt.spec, "CONTAINER "); ok {
				spec, container = strings.TrimSpace(before), after
			}
			manifest := fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  %s\n  containers:\n  - name: c\n    image: busybox\n    %s\n", spec, container)
			m := Load("p.yaml", strings.NewReader(manifest), "node1")
			var got []string
			for _, p := range m.Problems {
				got = append(got, p.Field+": "+p.Message)
			}
			for _, p := range m.Warnings {
				got = append(got, "warning "+p.Field+": "+p.Message)
			}
			if !slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, tt.want) }) {
				t.Errorf("want %q, got:\n%s", tt.want, strings.Join(got, "\n"))
			}
		})
	}
}

func TestUnsupportedChangesNothing(t *testing.T) {
	m := Load("full.yaml", strings.NewReader(full), "node1")
	pod := m.Objects[0].Pod
	before := pod.DeepCopy()
	Unsupported(pod, "node1")
	Validate(pod)
	Default(pod)
	if !reflect.DeepEqual(before, pod) {
		t.Error("a defaulted Pod changed")
	}
}
