// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	certificatesv1beta1 "k8s.io/api/certificates/v1beta1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// fakeObjects has objects of the namespace ns by name.
type fakeObjects struct {
	maps    map[string]*corev1.ConfigMap
	secrets map[string]*corev1.Secret
	bundles []*certificatesv1beta1.ClusterTrustBundle
}

func gone(kind schema.GroupResource, name string) error {
	return absent(kind, name, apierrors.NewNotFound(kind, name))
}

func (f fakeObjects) configMap(namespace, name string) (*corev1.ConfigMap, error) {
	if o := f.maps[name]; o != nil && namespace == "ns" {
		return o, nil
	}
	return &corev1.ConfigMap{}, gone(corev1.Resource("configmap"), name)
}

func (f fakeObjects) secret(namespace, name string) (*corev1.Secret, error) {
	if o := f.secrets[name]; o != nil && namespace == "ns" {
		return o, nil
	}
	return &corev1.Secret{}, gone(corev1.Resource("secret"), name)
}

func (f fakeObjects) trustBundle(name string) (*certificatesv1beta1.ClusterTrustBundle, error) {
	for _, b := range f.bundles {
		if b.Name == name {
			return b, nil
		}
	}
	return nil, gone(certificatesv1beta1.Resource("clustertrustbundle"), name)
}

func (f fakeObjects) trustBundles() ([]*certificatesv1beta1.ClusterTrustBundle, error) {
	return slices.Clone(f.bundles), nil
}

func someObjects() fakeObjects {
	return fakeObjects{
		maps: map[string]*corev1.ConfigMap{
			"m":     {Data: map[string]string{"k": "from m", "A": "m's A", "odd.name-1": "odd"}, BinaryData: map[string][]byte{"bin": {1}}},
			"later": {Data: map[string]string{"A": "later's A"}},
			"zero":  {Data: map[string]string{"k": "a\x00b"}},
		},
		secrets: map[string]*corev1.Secret{"s": {Data: map[string][]byte{"k": []byte("from s"), "B": []byte("s's B")}}},
	}
}

func containerFrom(t *testing.T, text string) *corev1.Container {
	t.Helper()
	var c corev1.Container
	if err := yaml.UnmarshalStrict([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	return &c
}

func TestEnv(t *testing.T) {
	tests := map[string]struct{ spec, want string }{
		"references look back, not ahead": {"env: [{name: A, value: $(B)}, {name: B, value: b}, {name: C, value: '$(B) $$(B) $$$(B) $(NO) $x $'}]",
			"A=$(B) B=b C=b $(B) $b $(NO) $x $"},
		"the last of a name wins, where it first stood": {"env: [{name: A, value: '1'}, {name: B, value: $(A)}, {name: A, value: '2'}, {name: C, value: $(A)}]",
			"A=2 B=1 C=2"},
		"keys of objects": {"env: [{name: M, valueFrom: {configMapKeyRef: {name: m, key: k}}}, {name: S, valueFrom: {secretKeyRef: {name: s, key: k}}}, {name: R, value: '$(M), $(S)'}]",
			"M=from m S=from s R=from m, from s"},
		"values of objects are not expanded": {"env: [{name: X, value: x}, {name: Z, valueFrom: {configMapKeyRef: {name: m, key: A}}}]", "X=x Z=m's A"},
		"all keys, a later object wins, env wins": {"envFrom: [{configMapRef: {name: m}}, {configMapRef: {name: later}}, {secretRef: {name: s}}]\nenv: [{name: B, value: own}, {name: Q, value: $(k)}]",
			"A=later's A k=from s odd.name-1=odd B=own Q=from s"},
		"with a prefix":                {"envFrom: [{prefix: P_, secretRef: {name: s}}]", "P_B=s's B P_k=from s"},
		"binary data are left out":     {"envFrom: [{configMapRef: {name: later}}]\nenv: [{name: X, valueFrom: {configMapKeyRef: {name: m, key: bin, optional: true}}}]", "A=later's A"},
		"an object is not there":       {"env: [{name: A, valueFrom: {configMapKeyRef: {name: x, key: k}}}]", `missing: configmap "x" not found`},
		"a secret is not there":        {"env: [{name: A, valueFrom: {secretKeyRef: {name: x, key: k}}}]", `missing: secret "x" not found`},
		"a key is not there":           {"env: [{name: A, valueFrom: {configMapKeyRef: {name: m, key: x}}}]", "missing: couldn't find key x in ConfigMap ns/m"},
		"a secret's key is not there":  {"env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: x}}}]", "missing: couldn't find key x in Secret ns/s"},
		"envFrom of nothing":           {"envFrom: [{configMapRef: {name: x}}]", `missing: configmap "x" not found`},
		"envFrom of no secret":         {"envFrom: [{secretRef: {name: x}}]", `missing: secret "x" not found`},
		"optional ones are not set":    {"envFrom: [{configMapRef: {name: x, optional: true}}, {secretRef: {name: x, optional: true}}]\nenv: [{name: A, valueFrom: {configMapKeyRef: {name: x, key: k, optional: true}}}, {name: B, valueFrom: {secretKeyRef: {name: s, key: x, optional: true}}}, {name: C, value: '$(A)$(B)'}]", "C=$(A)$(B)"},
		"optional leaves envFrom's":    {"envFrom: [{configMapRef: {name: later}}]\nenv: [{name: A, valueFrom: {configMapKeyRef: {name: x, key: k, optional: true}}}]", "A=later's A"},
		"a zero byte":                  {"env: [{name: A, valueFrom: {configMapKeyRef: {name: zero, key: k}}}]", "environment variable A: its value has a zero byte in it"},
		"relaxed names":                {"env: [{name: 'a b/ü', value: x}]", "a b/ü=x"},
		"a file's key":                 {"env: [{name: A, valueFrom: {fileKeyRef: {volumeName: v, path: f, key: K}}}]", "A=in a file"},
		"a file's key is not there":    {"env: [{name: A, valueFrom: {fileKeyRef: {volumeName: v, path: f, key: X}}}]", `environment variable key "X" not found in file "f" of volume "v"`},
		"optional in a file":           {"env: [{name: A, valueFrom: {fileKeyRef: {volumeName: v, path: f, key: X, optional: true}}}]", ""},
		"no file, though optional":     {"env: [{name: A, valueFrom: {fileKeyRef: {volumeName: v, path: no, key: X, optional: true}}}]", "couldn't parse env file: no such file"},
		"fields":                       {"env: [{name: A, valueFrom: {fieldRef: {fieldPath: \"metadata.labels['l']\"}}}, {name: B, valueFrom: {fieldRef: {fieldPath: \"metadata.annotations['e.x/An']\"}}}, {name: C, valueFrom: {fieldRef: {fieldPath: status.podIPs}}}, {name: D, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}, {name: E, valueFrom: {fieldRef: {fieldPath: \"metadata.labels['no']\"}}}]", "A=label B=annotation C=10.0.0.1,fd::1 D=node E="},
		"an unknown field":             {"env: [{name: A, valueFrom: {fieldRef: {fieldPath: spec.hostname}}}]", "unsupported fieldPath: spec.hostname"},
		"resources":                    {"name: c\nresources: {limits: {cpu: 1500m}, requests: {memory: 10Mi}}\nenv: [{name: A, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}, {name: B, valueFrom: {resourceFieldRef: {resource: limits.cpu, divisor: 1m}}}, {name: C, valueFrom: {resourceFieldRef: {resource: requests.memory, divisor: 1Mi}}}, {name: D, valueFrom: {resourceFieldRef: {resource: requests.cpu}}}]", "A=2 B=1500 C=10 D=0"},
		"limits default to the node's": {"name: c\nenv: [{name: A, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}, {name: B, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Gi}}}, {name: C, valueFrom: {resourceFieldRef: {resource: limits.hugepages-2Mi}}}]", "A=4 B=8 C=0"},
		"another container's":          {"name: c\nenv: [{name: A, valueFrom: {resourceFieldRef: {containerName: other, resource: limits.cpu}}}]", "A=3"},
		"no container's":               {"name: c\nenv: [{name: A, valueFrom: {resourceFieldRef: {containerName: nobody, resource: limits.cpu}}}]", "container nobody not found"},
		"an unknown resource":          {"name: c\nenv: [{name: A, valueFrom: {resourceFieldRef: {resource: limits.gpu}}}]", "unsupported container resource : limits.gpu"},
	}
	node := &NodeFacts{NodeName: "node", Allocatable: corev1.ResourceList{"cpu": resource.MustParse("4"), "memory": resource.MustParse("8Gi"), "hugepages-2Mi": resource.MustParse("4Mi")}}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", Labels: map[string]string{"l": "label"}, Annotations: map[string]string{"e.x/An": "annotation"}}}
	pod.Spec.Containers = []corev1.Container{{Name: "other", Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{"cpu": resource.MustParse("3")}}}}
	src := envSources{objects: someObjects(), ips: []string{"10.0.0.1", "fd::1"}, file: func(volume, path string) ([]byte, error) {
		if volume != "v" || path != "f" {
			return nil, errors.New("no such file")
		}
		return []byte("K='in a file'\n"), nil
	}}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			env, err := node.env(pod, containerFrom(t, tt.spec), src)
			got := strings.Join(env.list(), " ")
			if err != nil {
				got = err.Error()
				if isMissing(err) {
					got = "missing: " + got
				}
			}
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// TestPodLimitsStandInForTheNodes: a container without a limit of its own is held to
// the Pod's.
func TestPodLimitsStandInForTheNodes(t *testing.T) {
	node := &NodeFacts{Allocatable: corev1.ResourceList{"cpu": resource.MustParse("4"), "memory": resource.MustParse("8Gi")}}
	pod := &corev1.Pod{Spec: corev1.PodSpec{Resources: &corev1.ResourceRequirements{Limits: corev1.ResourceList{"cpu": resource.MustParse("2")}}}}
	for selector, want := range map[string]string{"limits.cpu": "2", "limits.memory": "8589934592"} {
		if got, err := node.resourceField(pod, &corev1.Container{}, &corev1.ResourceFieldSelector{Resource: selector}); err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", selector, got, err, want)
		}
	}
}

func TestParseEnvFile(t *testing.T) {
	for text, want := range map[string]string{
		"K='v'":                             "v",
		"K='v'\r\n":                         "v",
		"# c\n\n \t K='v' # comment":        "v",
		"J='1'\nK='two\nlines'\nK='second'": "two\nlines",
		"K='a \"b\" \\n $(X) #'":            "a \"b\" \\n $(X) #",
		"K=''":                              "",
		"K= 'v'":                            "",
		"J= what\nK='v'":                    "v",
		"J='v'":                             "",
		"K='v'\nbroken behind it":           "v",
		"J":                                 "error: line 1: no '='",
		"='v'":                              "error: line 1: no name before '='",
		"\nK ='v'":                          "error: line 2: space before '='",
		"K=v":                               "error: line 1: the value is not in single quotes",
		"K=\"v\"":                           "error: line 1: the value is not in single quotes",
		"K='v":                              "error: line 1: the quote is not closed",
		"K='v\nw":                           "error: line 1: the quote is not closed",
		"K='v\n'w":                          "error: line 2: something follows the closing quote",
		"":                                  "",
	} {
		got, err := parseEnvFile(text, "K")
		if err != nil {
			got = "error: " + err.Error()
		}
		if got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// FuzzParseEnvFile: what is written by the rules is read back, and nothing breaks it.
func FuzzParseEnvFile(f *testing.F) {
	f.Add("K='v'\n", "K")
	f.Add("# x\nA='b\nc' # d\nK= 'v'", "K")
	f.Add("K='", "")
	f.Fuzz(func(t *testing.T, text, key string) {
		value, err := parseEnvFile(text, key)
		if err != nil {
			return
		}
		if !strings.Contains(strings.ReplaceAll(text, "\r\n", "\n"), value) {
			t.Errorf("%q is nowhere in %q", value, text)
		}
		written := fmt.Sprintf("FIRST='%s'\nSECOND='x'\n", value)
		if again, err := parseEnvFile(written, "FIRST"); err != nil || again != value {
			t.Errorf("%q was read back as %q, %v", value, again, err)
		}
	})
}

func TestReferences(t *testing.T) {
	pod := &corev1.Pod{}
	text := `
volumes:
- {name: a, configMap: {name: m}}
- {name: b, projected: {sources: [{configMap: {name: m}}, {secret: {name: s}}, {downwardAPI: {items: [{path: l, fieldRef: {fieldPath: metadata.labels}}]}}]}}
- {name: c, downwardAPI: {items: [{path: l, fieldRef: {fieldPath: metadata.name}}]}}
- {name: d, emptyDir: {}}
initContainers:
- {name: i, envFrom: [{secretRef: {name: e}}], env: [{name: X, valueFrom: {configMapKeyRef: {name: f, key: k}}}]}
`
	if err := yaml.UnmarshalStrict([]byte(text), &pod.Spec); err != nil {
		t.Fatal(err)
	}
	r := referencesOf(pod)
	if got := r.volumes[objectKey{ConfigMaps, "m"}]; !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("m is shown by %v", got)
	}
	if got := r.volumes[objectKey{Secrets, "s"}]; !slices.Equal(got, []string{"b"}) {
		t.Errorf("s is shown by %v", got)
	}
	if !r.env[objectKey{Secrets, "e"}] || !r.env[objectKey{ConfigMaps, "f"}] || r.env[objectKey{Secrets, "f"}] {
		t.Errorf("environment of %v", r.env)
	}
	if !slices.Equal(r.labels, []string{"b"}) || r.written["d"] || !r.written["c"] {
		t.Errorf("labels are shown by %v, written are %v", r.labels, r.written)
	}
}
