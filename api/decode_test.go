// SPDX-License-Identifier: Apache-2.0

package api

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/resource"
)

// small is a valid Pod in YAML.
func small(name string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata:\n  name: %s\nspec:\n  containers:\n  - name: c\n    image: busybox\n", name)
}

// smallJSON is a valid Pod in JSON.
func smallJSON(name string) string {
	return fmt.Sprintf("{\"apiVersion\": \"v1\", \"kind\": \"Pod\",\n\t\"metadata\": {\"name\": %q},\n\t\"spec\": {\"containers\": [{\"name\": \"c\", \"image\": \"busybox\"}]}}", name)
}

func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n  ") + "\n"
}

// decodeSound returns the objects without a fault, and all problems.
func decodeSound(name string, r io.Reader) ([]Object, []Problem) {
	all, problems := decodeAll(name, r)
	var objects []Object
	for _, d := range all {
		if len(d.faults) == 0 {
			objects = append(objects, d.Object)
		}
		problems = append(problems, d.decodingProblems()...)
	}
	sortProblems(problems)
	return objects, problems
}

func TestDecodeForms(t *testing.T) {
	tests := []struct {
		name, manifest string
		want           string // pod:document:item:line
	}{
		{"one document", small("a"), "a:1:-1:1"},
		{"several documents, empty ones between", "# head\n---\n" + small("a") + "---\n# nothing\n---\n" + small("b") + "...\n", "a:1:-1:3 b:2:-1:14"},
		{"CRLF and a byte order mark", "\xef\xbb\xbf" + strings.ReplaceAll(small("a")+"---\n"+small("b"), "\n", "\r\n"), "a:1:-1:1 b:2:-1:10"},
		{"no newline at the end", strings.TrimSpace(small("a")) + "\n---\n" + strings.TrimSpace(small("b")), "a:1:-1:1 b:2:-1:10"},
		{"separator with a comment", "--- # first\n" + small("a") + "---   \n" + small("b"), "a:1:-1:2 b:2:-1:11"},
		{"JSON", smallJSON("a"), "a:1:-1:1"},
		{"JSON documents one after another", smallJSON("a") + "\n" + smallJSON("b"), "a:1:-1:1 b:2:-1:4"},
		{"JSON array", "[" + smallJSON("a") + ",\n" + smallJSON("b") + "]", "a:1:0:1 b:1:1:4"},
		{"YAML in flow style", "{apiVersion: v1, kind: Pod, metadata: {name: a}}", "a:1:-1:1"},
		{"JSON between YAML separators", smallJSON2() + "\n---\n" + small("b"), "a:1:-1:1 b:2:-1:3"},
		{"List", "apiVersion: v1\nkind: List\nitems:\n- " + strings.TrimSpace(indent(small("a"))) + "\n- " + strings.TrimSpace(indent(small("b"))) + "\n", "a:1:0:4 b:1:1:12"},
		{"PodList in JSON", `{"apiVersion":"v1","kind":"PodList","metadata":{},"items":[` + smallJSON("a") + `]}`, "a:1:0:1"},
		{"empty List", "apiVersion: v1\nkind: List\nitems: []\n", ""},
		{"anchors and merge keys", "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - &c\n    name: c\n    image: busybox\n  - <<: *c\n    name: d\n", "a:1:-1:1"},
		{"null fields", "apiVersion: v1\nkind: Pod\nmetadata: {name: a, creationTimestamp: null, labels: null}\nspec: null\nstatus: {}\n", "a:1:-1:1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			objects, problems := decodeSound("f", strings.NewReader(tt.manifest))
			for _, p := range problems {
				t.Error(p.Error())
			}
			var got []string
			for _, o := range objects {
				got = append(got, fmt.Sprintf("%s:%d:%d:%d", o.Pod.Name, o.Document, o.Item, o.Line))
			}
			if s := strings.Join(got, " "); s != tt.want {
				t.Errorf("got %s, want %s", s, tt.want)
			}
		})
	}
}

// smallJSON2 is a Pod on one line without tabs, which YAML allows too.
func smallJSON2() string {
	return strings.NewReplacer("\n", " ", "\t", "").Replace(smallJSON("a"))
}

func TestDecodeProblems(t *testing.T) {
	tests := []struct {
		name, manifest string
		want           []string
	}{
		{"empty", " \n# nothing\n", []string{"f: holds no object: expected at least one Pod"}},
		{"no YAML", "a: b: c\n", []string{"f: document 1, line 1: not valid YAML: mapping values are not allowed in this context"}},
		{"no YAML in the second document", small("a") + "---\n\nx: [\n", []string{"f: document 2, line 11: not valid YAML: did not find expected node content"}},
		{"broken JSON", `{"apiVersion": "v1",`, []string{"f: document 1, line 1: not valid YAML: did not find expected node content"}},
		{"a text", "hello\n", []string{`f: document 1, line 1: expected an object with apiVersion and kind, got "hello"`}},
		{"null", "null\n", []string{"f: document 1, line 1: is null: expected a Pod"}},
		{"no kind", "metadata: {name: a}\n", []string{"f: document 1, line 1: apiVersion and kind are required: expected apiVersion: v1 and kind: Pod"}},
		{"kinds", "apiVersion: apps/v1\nkind: Deployment\n---\napiVersion: v2\nkind: Pod\n", []string{
			"f: document 1, line 1: kind Deployment (apps/v1) is not supported: manifests hold Pod, ConfigMap, Secret, Namespace, PersistentVolume, PersistentVolumeClaim (v1), ClusterTrustBundle (certificates.k8s.io/v1beta1) and StorageClass (storage.k8s.io/v1), alone or in a List (v1)",
			"f: document 2, line 4: kind Pod (v2) is not supported: manifests hold Pod, ConfigMap, Secret, Namespace, PersistentVolume, PersistentVolumeClaim (v1), ClusterTrustBundle (certificates.k8s.io/v1beta1) and StorageClass (storage.k8s.io/v1), alone or in a List (v1)",
		}},
		{"kind in a list", "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Service\n", []string{
			"f: document 1, item 0, line 4: kind Service (v1) is not supported: manifests hold Pod, ConfigMap, Secret, Namespace, PersistentVolume, PersistentVolumeClaim (v1), ClusterTrustBundle (certificates.k8s.io/v1beta1) and StorageClass (storage.k8s.io/v1), alone or in a List (v1)",
		}},
		{"items that are no list", "apiVersion: v1\nkind: List\nitems: 3\n", []string{"f: document 1, line 1: kind List (v1) is not supported: manifests hold Pod, ConfigMap, Secret, Namespace, PersistentVolume, PersistentVolumeClaim (v1), ClusterTrustBundle (certificates.k8s.io/v1beta1) and StorageClass (storage.k8s.io/v1), alone or in a List (v1)"}},
		{"everything at once", small("a") + "    imagePullPolice: Never\n    Image: x\n    tty: 1\n    ports:\n    - containerPort: \"80\"\n    - {containerPort: 99999999999, hostPort: 1.5}\n    resources: {limits: {cpu: ten}}\n    command: sh\n    env: {A: b}\n  nodeSelector: {a: true}\n", []string{
			`f: document 1, line 9: spec.containers[0].imagePullPolice: unknown field (did you mean "imagePullPolicy"?)`,
			`f: document 1, line 10: spec.containers[0].Image: unknown field (did you mean "image"?)`,
			`f: document 1, line 11: spec.containers[0].tty: expected true or false, got the number 1`,
			`f: document 1, line 13: spec.containers[0].ports[0].containerPort: expected an integer, got "80"`,
			`f: document 1, line 14: spec.containers[0].ports[1].containerPort: 99999999999 is out of range for a number of 32 bits`,
			`f: document 1, line 14: spec.containers[0].ports[1].hostPort: expected an integer, got the number 1.5`,
			`f: document 1, line 15: spec.containers[0].resources.limits[cpu]: "ten" is no valid value: quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'`,
			`f: document 1, line 16: spec.containers[0].command: expected a list, got "sh"`,
			`f: document 1, line 17: spec.containers[0].env: expected a list, got an object`,
			`f: document 1, line 18: spec.nodeSelector[a]: expected a string, got the boolean true; put it in quotes`,
		}},
		{"duplicates in YAML", small("a") + "    name: d\n  containers: []\n", []string{
			"f: document 1, line 9: spec.containers[0].name: duplicate field, first set in line 7",
			"f: document 1, line 10: spec.containers: duplicate field, first set in line 6",
		}},
		{"duplicates in JSON", `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","name":"b"}}`, []string{
			"f: document 1, line 1: metadata.name: duplicate field",
		}},
		{"exponents that would take for ever", small("a") + "    resources: {limits: {cpu: 1e999999999, memory: '1E-9999999', hugepages-1e99999999: 1}}\n  overhead: {hugepages-2e9999999Mi: 1}\n", []string{
			"f: document 1, line 9: spec.containers[0].resources.limits[cpu]: \"1e999999999\" is no valid value: the exponent is out of range",
			"f: document 1, line 9: spec.containers[0].resources.limits[hugepages-1e99999999]: no valid page size: the exponent is out of range",
			"f: document 1, line 9: spec.containers[0].resources.limits[memory]: \"1E-9999999\" is no valid value: the exponent is out of range",
			"f: document 1, line 10: spec.overhead[hugepages-2e9999999Mi]: no valid page size: the exponent is out of range",
		}},
		{"text of the wrong case", `{"apiVersion":"v1","kind":"Pod","Metadata":{}}`, []string{
			`f: document 1, line 1: Metadata: unknown field (did you mean "metadata"?)`,
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, problems := decodeSound("f", strings.NewReader(tt.manifest))
			var got []string
			for _, p := range problems {
				got = append(got, p.Error())
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}

// endless is a manifest that never ends.
type endless struct{ read int }

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, strings.Repeat("a: b\n", 1+len(p)/5))
	e.read += n
	return n, nil
}

func TestLargeManifestIsRefusedEarly(t *testing.T) {
	r := &endless{}
	_, problems := decodeSound("huge.yaml", r)
	if len(problems) != 1 || !strings.Contains(problems[0].Error(), "larger than 10 MiB") {
		t.Errorf("problems: %v", problems)
	}
	if r.read > 2*MaxManifestBytes {
		t.Errorf("read %d bytes", r.read)
	}
	_, problems = decodeSound("big.yaml", strings.NewReader("a: "+strings.Repeat("x", MaxDocumentBytes)))
	if len(problems) != 1 || !strings.Contains(problems[0].Error(), "document 1, line 1: document larger than 2 MiB") {
		t.Errorf("problems: %v", problems)
	}
}

func TestReadErrorIsReported(t *testing.T) {
	_, problems := decodeSound("f", io.MultiReader(strings.NewReader(small("a")), failing{}))
	if len(problems) != 1 || problems[0].Error() != "f: disk on fire" {
		t.Errorf("problems: %v", problems)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("disk on fire") }

// Documents made to blow up are refused before they do.
func TestBombs(t *testing.T) {
	laughs := "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
	for i := 1; i < 10; i++ {
		laughs += fmt.Sprintf("a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i-1), 10), ","))
	}
	bombs := map[string]string{
		"billion laughs": laughs,
		"deep flow":      strings.Repeat("[", 1<<20),
		"deep JSON":      strings.Repeat(`{"a":`, 1<<18) + "1" + strings.Repeat("}", 1<<18),
		"deep block":     strings.Repeat("- ", 1<<20),
		"long list":      "apiVersion: v1\nkind: Pod\nx: [" + strings.Repeat("a,", 1<<17) + "]\n",
		"long list JSON": `{"apiVersion":"v1","kind":"List","items":[` + strings.Repeat("0,", 1<<17) + "0]}",
		"many documents": strings.Repeat("---\na: b\n", 1<<18),
		"self reference": "a: &a [*a]\n",
	}
	for name, bomb := range bombs {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			_, problems := decodeSound(name, strings.NewReader(bomb))
			runtime.ReadMemStats(&after)
			t.Logf("%d MiB allocated, %d problems", (after.TotalAlloc-before.TotalAlloc)>>20, len(problems))
			if len(problems) == 0 {
				t.Fatal("no problem")
			}
			t.Log(problems[0].Error())
			if after.Sys-before.Sys > 1<<30 {
				t.Errorf("took %d MiB from the system", (after.Sys-before.Sys)>>20)
			}
		})
	}
}

func TestCanonicalIgnoresNotation(t *testing.T) {
	one, p1 := decodeSound("f", strings.NewReader(small("a")))
	two, p2 := decodeSound("f", strings.NewReader("# comment\n"+smallJSON2()))
	three, p3 := decodeSound("f", strings.NewReader(small("b")))
	if len(p1)+len(p2)+len(p3) > 0 {
		t.Fatal(p1, p2, p3)
	}
	if string(one[0].Canonical) != string(two[0].Canonical) || string(one[0].Canonical) == string(three[0].Canonical) {
		t.Errorf("%s\n%s\n%s", one[0].Canonical, two[0].Canonical, three[0].Canonical)
	}
}

func FuzzLoad(f *testing.F) {
	for _, seed := range []string{small("a"), smallJSON("a"), full, "a: &a [*a]", "--- {}\n", "[]", "{}", "apiVersion: v1\nkind: List\nitems: [3]\n",
		small("a") + "    resources: {limits: {cpu: 1e3, memory: 0x10}}\n", small("a") + "<<: {a: b}\n", "? [a]\n: b\n", "!!binary aGk=: 1\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, manifest string) {
		m := Load("f", strings.NewReader(manifest), "node1")
		if len(m.Problems) > 0 && len(m.Objects) > 0 {
			t.Fatal("objects beside problems")
		}
		lines := 1
		for _, b := range []string{"\n", "\r", "\u0085", "\u2028", "\u2029"} { // all are line breaks in YAML
			lines += strings.Count(manifest, b)
		}
		for _, p := range slices.Concat(m.Problems, m.Warnings) {
			if p.Message == "" || p.Line > lines {
				t.Fatalf("%s (of %d lines)", p.Error(), lines)
			}
		}
		for _, o := range m.Objects {
			if errs := Validate(o.Pod); len(errs) > 0 {
				t.Fatalf("accepted, yet %v", errs)
			}
			if strings.ContainsAny(o.Pod.Name+o.Pod.Namespace, "/\\") || o.Pod.Name == "" {
				t.Fatalf("name %q", o.Pod.Name)
			}
			again := Load("f", strings.NewReader(string(o.Canonical)), "node1")
			if len(again.Problems) > 0 || string(again.Objects[0].Canonical) != string(o.Canonical) {
				t.Fatalf("the canonical form is not stable: %v", again.Problems)
			}
		}
	})
}

func FuzzQuantity(f *testing.F) {
	for _, seed := range []string{"100m", "1", "1Gi", "-1", "1e999999999", "1E", "0.000000000000000001", "99999999999999999999999999999", ".", "1e-400", "+5k", "0x1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		q := fmt.Sprintf("%q", text)
		m := Load("f", strings.NewReader(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"spec":{"containers":[{"name":"c","image":"b","resources":{"limits":{"cpu":`+
			q+`,"memory":`+q+`,"hugepages-2Mi":`+q+`}}}]}}`), "node1")
		for _, o := range m.Objects {
			for name, v := range o.Pod.Spec.Containers[0].Resources.Limits {
				if v.Sign() < 0 || v.Cmp(resource.MustParse("0")) < 0 || v.MilliValue() < 0 {
					t.Errorf("%s: %s was taken as %s", name, text, v.String())
				}
			}
		}
	})
}
