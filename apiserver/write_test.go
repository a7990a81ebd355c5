// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

func newPod(name string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{Containers: []corev1.Container{{
		Name: "c", Image: "busybox",
		Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")}},
	}}}}
}

func TestTypedClientWrites(t *testing.T) {
	for _, contentType := range contentTypes {
		t.Run(contentType, func(t *testing.T) {
			b := newBench(t)
			b.space("default")
			pods := b.client(contentType).CoreV1().Pods("default")
			p, err := pods.Create(t.Context(), newPod("a"), metav1.CreateOptions{})
			if err != nil || p.UID == "" || p.CreationTimestamp.IsZero() || p.Spec.NodeName != "n1" || p.Status.Phase != corev1.PodPending ||
				p.Spec.RestartPolicy != corev1.RestartPolicyAlways || p.Generation != 1 {
				t.Fatalf("create: %v %+v", err, p)
			}
			if _, err := pods.Create(t.Context(), newPod("a"), metav1.CreateOptions{}); !apierrors.IsAlreadyExists(err) {
				t.Errorf("second create: %v", err)
			}
			if _, err := pods.Create(t.Context(), newPod("dry"), metav1.CreateOptions{DryRun: []string{"All"}}); err != nil {
				t.Errorf("dry run: %v", err)
			}
			if _, err := pods.Get(t.Context(), "dry", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
				t.Errorf("a dry run was stored: %v", err)
			}

			p.Spec.Containers[0].Image = "busybox:2"
			changed, err := pods.Update(t.Context(), p, metav1.UpdateOptions{})
			if err != nil || changed.Spec.Containers[0].Image != "busybox:2" || changed.Generation != 2 || changed.ResourceVersion == p.ResourceVersion {
				t.Fatalf("update: %v %+v", err, changed)
			}
			if _, err := pods.Update(t.Context(), p, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
				t.Errorf("stale update: %v", err)
			}
			same, err := pods.Update(t.Context(), changed, metav1.UpdateOptions{})
			if err != nil || same.ResourceVersion != changed.ResourceVersion {
				t.Errorf("an update without a change: %v, version %s", err, same.ResourceVersion)
			}
			changed.Spec.Containers[0].Command = []string{"other"}
			if _, err := pods.Update(t.Context(), changed, metav1.UpdateOptions{}); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "pod updates may not change fields other than") {
				t.Errorf("update of the command: %v", err)
			}

			if err := pods.Delete(t.Context(), "a", metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: ptr.To(types.UID("other"))}}); !apierrors.IsConflict(err) {
				t.Errorf("delete of another: %v", err)
			}
			if err := pods.Delete(t.Context(), "a", metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](3)}); err != nil {
				t.Errorf("delete: %v", err)
			}
			ending, err := pods.Get(t.Context(), "a", metav1.GetOptions{})
			if err != nil || ending.DeletionTimestamp == nil || *ending.DeletionGracePeriodSeconds != 3 {
				t.Errorf("after delete: %v %+v", err, ending)
			}
			if err := pods.Delete(t.Context(), "nobody", metav1.DeleteOptions{}); !apierrors.IsNotFound(err) {
				t.Errorf("delete of nobody: %v", err)
			}
		})
	}
}

func TestGeneratedNamesDiffer(t *testing.T) {
	b := newBench(t)
	b.space("default")
	pods := b.client("").CoreV1().Pods("default")
	seen := map[string]bool{}
	for range 20 {
		p := newPod("")
		p.GenerateName = "many-"
		p, err := pods.Create(t.Context(), p, metav1.CreateOptions{})
		if err != nil || !strings.HasPrefix(p.Name, "many-") || len(p.Name) != len("many-")+5 || seen[p.Name] {
			t.Fatalf("%v %+v", err, p)
		}
		seen[p.Name] = true
	}
	if err := pods.DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	list, err := pods.List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) != 20 {
		t.Fatalf("%v, %d", err, len(list.Items))
	}
	for _, p := range list.Items {
		if p.DeletionTimestamp == nil {
			t.Errorf("%s is not ending", p.Name)
		}
	}
}

// Unknown fields and fields that a patch has twice are refused, warned about or
// neither, as the client wants it, whatever the form of the patch.
func TestPatchesAreValidated(t *testing.T) {
	b := newBench(t)
	b.space("default")
	if _, err := b.client("").CoreV1().Pods("default").Create(t.Context(), newPod("a"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for patch, want := range map[string]string{
		`application/strategic-merge-patch+json {"spec":{"color":"red"}}`:                             `unknown field "spec.color"`,
		`application/strategic-merge-patch+json {"metadata":{"labels":{"x":"1","x":"1"}}}`:            `duplicate field "metadata.labels.x"`,
		`application/merge-patch+json {"spec":{"color":"red"}}`:                                       `unknown field "spec.color"`,
		`application/merge-patch+json {"metadata":{"labels":{"x":"1","x":"1"}}}`:                      `duplicate field "metadata.labels.x"`,
		`application/json-patch+json [{"op":"add","path":"/spec/color","value":"red"}]`:               `unknown field "spec.color"`,
		`application/json-patch+json [{"op":"test","op":"test","path":"/metadata/name","value":"a"}]`: `duplicate field "[0].op"`,
	} {
		media, body, _ := strings.Cut(patch, " ")
		for how, refused := range map[string]bool{"Strict": true, "Warn": false, "Ignore": false} {
			code, h, answer := b.do("PATCH", "/api/v1/namespaces/default/pods/a?fieldValidation="+how, body, "Content-Type", media)
			warned := strings.ReplaceAll(strings.Join(h["Warning"], " "), `\"`, `"`)
			if refused != (code == 422 || code == 400) || refused && !strings.Contains(strings.ReplaceAll(answer, `\"`, `"`), want) || strings.Contains(warned, want) != (how == "Warn") {
				t.Errorf("%s %s: %d %s, warned %q", how, patch, code, answer, warned)
			}
		}
	}
}

// However many fields are unknown, the header that tells them is one that clients take.
func TestWarningsAreBounded(t *testing.T) {
	b := newBench(t)
	b.space("default")
	unknown := func(n int, name string) string {
		var fields []string
		for i := range n {
			fields = append(fields, fmt.Sprintf(`"%s%d":1`, name, i))
		}
		return `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"generateName":"c"},` + strings.Join(fields, ",") + `}`
	}
	for _, c := range []struct {
		n    int
		name string
		told int
	}{{3, "short", 3}, {3, strings.Repeat("long", 100), 3}, {10000, "many", 0}, {100, strings.Repeat("long", 1000), 16}} {
		code, h, body := b.do("POST", "/api/v1/namespaces/default/configmaps?fieldValidation=Warn", unknown(c.n, c.name), "Content-Type", "application/json")
		size := 0
		for _, text := range h["Warning"] {
			size += len(text)
		}
		if code != 201 || c.told > 0 && len(h["Warning"]) != c.told || size > 3*warningsMax || len(h["Warning"]) == 0 {
			t.Errorf("%d of %.10s: %d %.100s, %d warnings of %d bytes", c.n, c.name, code, body, len(h["Warning"]), size)
		}
	}
}

func TestPatches(t *testing.T) {
	b := newBench(t)
	b.space("default")
	pods := b.client("").CoreV1().Pods("default")
	if _, err := pods.Create(t.Context(), newPod("a"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		kind  types.PatchType
		patch string
		bad   func(error) bool
	}{
		{types.MergePatchType, `{"metadata":{"labels":{"a":"1","b":"2"}}}`, nil},
		{types.MergePatchType, `{"metadata":{"labels":{"a":"1"}}}`, nil}, // changes nothing
		{types.JSONPatchType, `[{"op":"test","path":"/metadata/labels/a","value":"1"},{"op":"remove","path":"/metadata/labels/a"}]`, nil},
		{types.JSONPatchType, `[{"op":"test","path":"/metadata/labels/b","value":"1"}]`, func(err error) bool { return apierrors.ReasonForError(err) == metav1.StatusReasonInvalid }},
		{types.StrategicMergePatchType, `{"spec":{"containers":[{"name":"c","image":"busybox:3"}]}}`, nil},
		{types.StrategicMergePatchType, `{"metadata":{"resourceVersion":"1"},"spec":{"activeDeadlineSeconds":60}}`, apierrors.IsConflict},
		{types.StrategicMergePatchType, `{"spec":{"hostNetwork":true}}`, apierrors.IsInvalid},
		{types.MergePatchType, `{"metadata":{"name":"b"}}`, apierrors.IsBadRequest},
		{types.MergePatchType, `{"metadata":{"annotations":{"minikubelet/manifest":"x"}}}`, apierrors.IsInvalid},
		{types.MergePatchType, `[]`, apierrors.IsBadRequest},
		{types.StrategicMergePatchType, `[]`, apierrors.IsBadRequest},
		{types.StrategicMergePatchType, `{"metadata":{"name":"b"}}`, apierrors.IsBadRequest},
		{types.StrategicMergePatchType, `{"kind":"Node"}`, apierrors.IsBadRequest},
		{types.StrategicMergePatchType, `{"$patch":"delete"}`, apierrors.IsBadRequest},
		{types.StrategicMergePatchType, `{"spec":{"containers":{"name":"c"}}}`, apierrors.IsInvalid},
		{types.StrategicMergePatchType, `{"spec":{"containers":[{"name":"c","resources":{"limits":{"cpu":"1e999999999"}}}]}}`, apierrors.IsBadRequest},
		{types.MergePatchType, `{"spec":{"containers":[{"name":"c","image":"x","resources":{"limits":{"cpu":"1e999999999"}}}]}}`, apierrors.IsBadRequest},
		{types.ApplyYAMLPatchType, `{}`, apierrors.IsBadRequest},
	} {
		_, err := pods.Patch(t.Context(), "a", c.kind, []byte(c.patch), metav1.PatchOptions{FieldManager: "x"})
		if c.bad == nil && err != nil || c.bad != nil && !c.bad(err) {
			t.Errorf("%s %s: %v", c.kind, c.patch, err)
		}
	}
	p, err := pods.Get(t.Context(), "a", metav1.GetOptions{})
	const version = "6" // the namespace, the Pod, that it was scheduled and three changes
	if err != nil || len(p.Labels) != 1 || p.Labels["b"] != "2" || p.Spec.Containers[0].Image != "busybox:3" || p.ResourceVersion != version || p.Generation != 2 ||
		p.Spec.Containers[0].Resources.Limits.Cpu().String() != "100m" {
		t.Errorf("%v %+v", err, p)
	}
}

// TestJSONPatchesDoNotGrow sends a patch that doubles a value of 1 MiB with each of
// its copies.
func TestJSONPatchesDoNotGrow(t *testing.T) {
	b := newBench(t)
	b.pod("default", "a")
	value := strings.Repeat("x", 1<<20)
	patch := `[{"op":"add","path":"/metadata/annotations","value":{"a":{"v":"` + value + `"}}}`
	for range patchCopies {
		patch += `,{"op":"copy","from":"/metadata/annotations","path":"/metadata/annotations/a/more"}`
	}
	code, _, body := b.do("PATCH", "/api/v1/namespaces/default/pods/a", patch+"]", "Content-Type", string(types.JSONPatchType))
	if code != http.StatusRequestEntityTooLarge {
		t.Errorf("%d %.300s", code, body)
	}
}

func TestDeletionsTakeWholeNumbers(t *testing.T) {
	b := newBench(t)
	b.pod("default", "a")
	for _, seconds := range []string{"5s", "5 6", "0x5", "1.5"} {
		code, _, body := b.do("DELETE", "/api/v1/namespaces/default/pods/a?gracePeriodSeconds="+url.QueryEscape(seconds), "")
		if code != http.StatusBadRequest || !strings.Contains(body, "must be a number") {
			t.Errorf("%s: %d %s", seconds, code, body)
		}
	}
}

func TestConcurrentPatchesAreAllKept(t *testing.T) {
	b := newBench(t)
	b.space("default")
	pods := b.client("").CoreV1().Pods("default")
	if _, err := pods.Create(t.Context(), newPod("a"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	names := []string{"a", "b", "c", "d"}
	for _, name := range names {
		wg.Go(func() {
			if _, err := pods.Patch(t.Context(), "a", types.MergePatchType, []byte(`{"metadata":{"labels":{"`+name+`":"x"}}}`), metav1.PatchOptions{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if p, err := pods.Get(t.Context(), "a", metav1.GetOptions{}); err != nil || len(p.Labels) != len(names) {
		t.Errorf("%v %v", err, p.Labels)
	}
}

func TestBodies(t *testing.T) {
	b := newBench(t)
	b.space("default")
	const good = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"x"},"spec":{"containers":[{"name":"c","image":"busybox"}]}}`
	with := func(old, new string) string { return strings.Replace(good, old, new, 1) }
	for name, c := range map[string]struct {
		query, media, body string
		code               int
		want               string // in the body, or after "! " in a warning
	}{
		"json":            {"", "application/json", good, 201, `"uid"`},
		"yaml":            {"", "application/yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: why}\nspec:\n  containers: [{name: c, image: busybox}]\n", 201, `"uid"`},
		"unknown, strict": {"?fieldValidation=Strict", "application/json", with(`"spec":{`, `"spec":{"color":1,`), 400, `strict decoding error: unknown field \"spec.color\"`},
		"unknown, warn":   {"?fieldValidation=Warn&dryRun=All", "application/json", with(`"x"`, `"w","color":1`), 201, `! unknown field "metadata.color"`},
		"unknown, ignore": {"?fieldValidation=Ignore&dryRun=All", "application/json", with(`"x"`, `"w","color":1`), 201, ""},
		"duplicate":       {"?fieldValidation=Strict", "application/json", with(`"name":"x"`, `"name":"x","name":"x"`), 400, `duplicate field \"metadata.name\"`},
		"duplicate yaml":  {"?fieldValidation=Strict", "application/yaml", "apiVersion: v1\nkind: Pod\nkind: Pod\n", 400, "already set in map"},
		"validation":      {"?fieldValidation=What", "application/json", good, 400, "Unsupported value"},
		"dry run":         {"?dryRun=Some", "application/json", good, 400, "Unsupported value"},
		"other kind":      {"", "application/json", with("Pod", "Node"), 400, "must be of type Pod"},
		"no JSON":         {"", "application/json", "{", 400, "unexpected end"},
		"no media":        {"", "text/plain", good, 415, "unknown format"},
		"mistyped":        {"", "application/json", with(`"x"`, `1`), 400, "cannot unmarshal"},
		"invalid":         {"", "application/json", with("busybox", " "), 422, `"field":"spec.containers[0].image"`},
		"refused":         {"", "application/json", with(`"spec":{`, `"spec":{"os":{"name":"windows"},`), 422, "spec.os.name"},
		"warned":          {"?dryRun=All", "application/json", with(`"spec":{`, `"spec":{"topologySpreadConstraints":[{"maxSkew":1,"topologyKey":"k","whenUnsatisfiable":"DoNotSchedule"}],`), 409, ""},
		"warned, new":     {"?dryRun=All", "application/json", strings.Replace(with(`"spec":{`, `"spec":{"topologySpreadConstraints":[{"maxSkew":1,"topologyKey":"k","whenUnsatisfiable":"DoNotSchedule"}],`), `"x"`, `"z"`, 1), 201, "! spec.topologySpreadConstraints: has no effect"},
		"namespace":       {"", "application/json", with(`"name":"x"`, `"name":"x","namespace":"other"`), 400, "does not match the namespace"},
		"version":         {"", "application/json", with(`"name":"x"`, `"name":"x","resourceVersion":"1"`), 400, "resourceVersion should not be set"},
		"mirror":          {"", "application/json", with(`"name":"x"`, `"name":"m","annotations":{"kubernetes.io/config.source":"file"}`), 422, "the node itself sets"},
		"quantity":        {"", "application/json", with(`"busybox"`, `"busybox","resources":{"limits":{"cpu":"1e999999999","cpu":"1"}}`), 409, ""},
		"bad quantity":    {"", "application/json", with(`"busybox"`, `"busybox","resources":{"limits":{"cpu":"1e999999999"}}`), 400, "exponent is out of range"},
		"large":           {"", "application/json", strings.Repeat(" ", bodyMax+1), 413, "TooLarge"},
		"no protobuf":     {"", "application/vnd.kubernetes.protobuf", good, 400, "no protobuf object"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.code == 409 { // these are there already
				b.do("POST", "/api/v1/namespaces/default/pods", good, "Content-Type", "application/json")
			}
			code, header, body := b.do("POST", "/api/v1/namespaces/default/pods"+c.query, c.body, "Content-Type", c.media)
			warning, isWarning := strings.CutPrefix(c.want, "! ")
			found := strings.Contains(body, c.want)
			if isWarning {
				found = strings.Contains(strings.ReplaceAll(strings.Join(header.Values("Warning"), "\n"), `\"`, `"`), warning)
			}
			if code != c.code && !(name == "json" && code == 409) || !found && code != 409 {
				t.Errorf("%d %v %.300s", code, header, body)
			}
			if c.want == "" && header.Get("Warning") != "" && code == 201 {
				t.Errorf("warned: %v", header.Values("Warning"))
			}
		})
	}
}

func TestPodsOfManifestsAreNotWritten(t *testing.T) {
	b := newBench(t)
	b.space("default")
	p := b.pod("default", "static")
	p.Annotations = map[string]string{annotationFile: "/etc/minikubelet/manifests/static.yaml"}
	if err := b.store.Update("pods", p); err != nil {
		t.Fatal(err)
	}
	pods := b.client("").CoreV1().Pods("default")
	_, patched := pods.Patch(t.Context(), "static", types.MergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`), metav1.PatchOptions{})
	for verb, err := range map[string]error{"patch": patched, "delete": pods.Delete(t.Context(), "static", metav1.DeleteOptions{})} {
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "/etc/minikubelet/manifests/static.yaml") {
			t.Errorf("%s: %v", verb, err)
		}
	}
}
