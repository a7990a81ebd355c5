// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/minikubelet/minikubelet/volumes"
)

type fakeTokens struct {
	made int
	life time.Duration
	err  error
}

func (f *fakeTokens) Token(_ context.Context, pod *corev1.Pod, audience string, seconds int64) (string, time.Time, error) {
	f.made++
	return fmt.Sprintf("%s/%s for %q, %d s, no. %d", pod.Namespace, pod.Name, audience, seconds, f.made), time.Now().Add(f.life), f.err
}

func TestFilesOfVolumes(t *testing.T) {
	tests := map[string]struct{ volume, want string }{
		"a config map, whole":         {"configMap: {name: m}", "A 644 m's A|bin 644 \x01|k 644 from m|odd.name-1 644 odd"},
		"with a default mode":         {"configMap: {name: later, defaultMode: 0400}", "A 400 later's A"},
		"items":                       {"configMap: {name: m, items: [{key: k, path: d/k}, {key: bin, path: b, mode: 0600}]}", "b 600 \x01|d/k 644 from m"},
		"a key is missing":            {"configMap: {name: m, items: [{key: none, path: k}]}", "missing: configmap references non-existent config key: none"},
		"an optional key is missing":  {"configMap: {name: m, optional: true, items: [{key: none, path: x}, {key: k, path: k}]}", "k 644 from m"},
		"a map is missing":            {"configMap: {name: x}", `missing: configmap "x" not found`},
		"an optional map is missing":  {"configMap: {name: x, optional: true, items: [{key: a, path: a}]}", ""},
		"a secret":                    {"secret: {secretName: s}", "B 644 s's B|k 644 from s"},
		"a secret's key is missing":   {"secret: {secretName: s, items: [{key: none, path: k}]}", "missing: references non-existent secret key: none"},
		"a secret is missing":         {"secret: {secretName: x}", `missing: secret "x" not found`},
		"the Pod's fields":            {"downwardAPI: {items: [{path: l, fieldRef: {fieldPath: metadata.labels}}, {path: q, mode: 0600, fieldRef: {fieldPath: metadata.name}}]}", "l 644 a=\"x\\ny\"\nb=\"\"|q 600 p"},
		"its resources":               {"downwardAPI: {items: [{path: c, resourceFieldRef: {containerName: c, resource: limits.cpu, divisor: 1m}}, {path: m, resourceFieldRef: {containerName: c, resource: limits.memory}}]}", "c 644 1500|m 644 1024"},
		"of no container":             {"downwardAPI: {items: [{path: c, resourceFieldRef: {containerName: x, resource: limits.cpu}}]}", "container x not found"},
		"several sources":             {"projected: {defaultMode: 0640, sources: [{configMap: {name: m, items: [{key: k, path: x}]}}, {secret: {name: s, items: [{key: k, path: x}, {key: B, path: w, mode: 0400}]}}, {downwardAPI: {items: [{path: z, fieldRef: {fieldPath: metadata.namespace}}]}}]}", "w 400 s's B|x 640 from s|z 640 ns"},
		"all that is missing is told": {"projected: {sources: [{configMap: {name: x}}, {secret: {name: w}}]}", `missing: [configmap "x" not found, secret "w" not found]`},
		"not only missing":            {"projected: {sources: [{configMap: {name: x}}, {downwardAPI: {items: [{path: c, resourceFieldRef: {containerName: x, resource: limits.cpu}}]}}]}", `[configmap "x" not found, container x not found]`},
		"a token":                     {"projected: {defaultMode: 0644, sources: [{serviceAccountToken: {path: token, expirationSeconds: 600, audience: vault}}]}", `token 600 ns/p for "vault", 600 s, no. 1`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			v := corev1.Volume{Name: "v"}
			if err := yaml.UnmarshalStrict([]byte(tt.volume), &v.VolumeSource); err != nil {
				t.Fatal(err)
			}
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", Labels: map[string]string{"b": "", "a": "x\ny"}}}
			group := int64(7)
			pod.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: &group}
			pod.Spec.Containers = []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{"cpu": resource.MustParse("1500m")}}}}
			p := projector{facts: &NodeFacts{Allocatable: corev1.ResourceList{"memory": resource.MustParse("1Ki")}}, objects: someObjects(), pod: pod,
				tokens: newPodTokens(&fakeTokens{life: time.Hour}, func(string) {})}
			defer p.tokens.stop()
			files, err := p.files(context.Background(), &v)
			if got := show(files, err); got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

func show(files volumes.Files, err error) string {
	if isMissing(err) {
		return "missing: " + err.Error()
	}
	if err != nil {
		return err.Error()
	}
	var out []string
	for path, f := range files {
		out = append(out, fmt.Sprintf("%s %o %s", path, f.Mode, f.Data))
	}
	slices.Sort(out)
	return strings.Join(out, "|")
}

func TestImmutableObjectsAreTold(t *testing.T) {
	yes := true
	objects := someObjects()
	objects.maps["m"].Immutable = &yes
	var told []objectKey
	p := projector{objects: objects, pod: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns"}}, immutable: func(k objectKey) { told = append(told, k) }}
	for _, name := range []string{"m", "later", "m"} {
		if _, err := p.configMap(name, nil, 0, false); err != nil {
			t.Fatal(err)
		}
	}
	if want := (objectKey{ConfigMaps, "m"}); len(told) != 2 || told[0] != want {
		t.Errorf("told of %v", told)
	}
}

// TestTokensAreKeptAndReplaced: one token serves until it is due, and then its volume
// is written again.
func TestTokensAreKeptAndReplaced(t *testing.T) {
	maker, due := &fakeTokens{life: time.Hour}, make(chan string, 1)
	tokens := newPodTokens(maker, func(v string) { due <- v })
	defer tokens.stop()
	pod, key := &corev1.Pod{}, tokenKey{"v", "", 3600}
	for range 3 {
		if _, err := tokens.get(context.Background(), pod, key); err != nil {
			t.Fatal(err)
		}
	}
	if maker.made != 1 {
		t.Errorf("%d tokens were made", maker.made)
	}
	if _, err := tokens.get(context.Background(), pod, tokenKey{"v", "other", 3600}); err != nil || maker.made != 2 {
		t.Errorf("another audience has the same token: %d, %v", maker.made, err)
	}
	maker.life = time.Second
	short := tokenKey{"w", "", 600}
	before, err := tokens.get(context.Background(), pod, short)
	if err != nil {
		t.Fatal(err)
	}
	if volume := <-due; volume != "w" {
		t.Errorf("volume %s is due", volume)
	}
	if after, err := tokens.get(context.Background(), pod, short); err != nil || after == before {
		t.Errorf("still %s, %v", after, err)
	}
	maker.err = errors.New("no")
	if _, err := tokens.get(context.Background(), pod, tokenKey{"x", "", 1}); err == nil {
		t.Error("an error was swallowed")
	}
}

// TestTokensWhenNoneCanBeMade: the old one serves as long as it is good, and it is tried
// again until there is a new one.
func TestTokensWhenNoneCanBeMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		maker, due := &fakeTokens{life: 10 * time.Minute}, make(chan time.Time, 100)
		tokens := newPodTokens(maker, func(string) { due <- time.Now() })
		defer tokens.stop()
		began, key := time.Now(), tokenKey{"v", "", 600}
		get := func() (string, error) { return tokens.get(t.Context(), &corev1.Pod{}, key) }
		first, err := get()
		if err != nil {
			t.Fatal(err)
		}
		maker.err = errors.New("no")
		for at := 8 * time.Minute; at <= 12*time.Minute; at += time.Minute {
			if when := (<-due).Sub(began); when != at {
				t.Fatalf("asked for after %v, want %v", when, at)
			}
			if text, err := get(); at < 10*time.Minute && (err != nil || text != first) || at >= 10*time.Minute && err == nil {
				t.Errorf("after %v: %s, %v", at, text, err)
			}
		}
		maker.err = nil
		<-due
		if text, err := get(); err != nil || text == first {
			t.Errorf("%s, %v", text, err)
		}
		if when := (<-due).Sub(began); when != 21*time.Minute {
			t.Errorf("the new one is replaced after %v", when)
		}
	})
}

// TestTokensWhenTheClockIsSet: a token that has expired by the new time is replaced soon,
// however long it seemed good before.
func TestTokensWhenTheClockIsSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		maker, due := &fakeTokens{life: 24 * time.Hour}, make(chan time.Time, 1)
		tokens := newPodTokens(maker, func(string) { due <- time.Now() })
		defer tokens.stop()
		var ahead atomic.Int64
		tokens.now = func() time.Time { return timeOfDay().Add(time.Duration(ahead.Load())) }
		began, key := time.Now(), tokenKey{"v", "", 24 * 3600}
		first, err := tokens.get(t.Context(), &corev1.Pod{}, key)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		ahead.Store(int64(365 * 24 * time.Hour))
		if when := (<-due).Sub(began); when > clockLook {
			t.Errorf("asked for after %v", when)
		}
		time.Sleep(time.Hour)
		if len(due) > 0 {
			t.Error("asked for again, although nobody can write the volume of a Pod that is over")
		}
		if text, err := tokens.get(t.Context(), &corev1.Pod{}, key); err != nil || text == first {
			t.Errorf("still %s, %v", text, err)
		}
	})
	if now := timeOfDay(); now != now.Round(0) {
		t.Errorf("%v does not follow the clock", now)
	}
}

func TestTokenLife(t *testing.T) {
	for whole, want := range map[time.Duration]time.Duration{
		10 * time.Minute: 8 * time.Minute, 365 * 24 * time.Hour: 24 * time.Hour, -time.Hour: time.Second, 0: time.Second,
	} {
		if got := tokenLife(whole); got != want {
			t.Errorf("of %v, %v are used, want %v", whole, got, want)
		}
	}
}

func TestOnlyUser(t *testing.T) {
	one, two := int64(1), int64(2)
	pod := &corev1.Pod{}
	as := func(u *int64) corev1.Container {
		return corev1.Container{SecurityContext: &corev1.SecurityContext{RunAsUser: u}}
	}
	pod.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: &one}
	pod.Spec.InitContainers, pod.Spec.Containers = []corev1.Container{as(&one)}, []corev1.Container{{}}
	if u := onlyUser(pod); u == nil || *u != 1 {
		t.Errorf("all run as 1, found %v", u)
	}
	pod.Spec.Containers = append(pod.Spec.Containers, as(&two))
	if onlyUser(pod) != nil {
		t.Error("two users are one")
	}
	pod.Spec.SecurityContext, pod.Spec.Containers = nil, []corev1.Container{{}}
	if onlyUser(pod) != nil {
		t.Error("nobody knows the image's user")
	}
}

func TestNestedMounts(t *testing.T) {
	pod := &corev1.Pod{}
	mount := func(name, path, sub string) corev1.VolumeMount {
		return corev1.VolumeMount{Name: name, MountPath: path, SubPath: sub}
	}
	pod.Spec.Containers = []corev1.Container{
		{VolumeMounts: []corev1.VolumeMount{mount("a", "/etc/a", ""), mount("b", "/etc/a/b/", ""), mount("c", "/etc/a/b/c/d", ""), mount("x", "/etc/ab", "")}},
		{VolumeMounts: []corev1.VolumeMount{mount("a", "/a", "part"), mount("b", "/a/b", "")}},
		{VolumeMounts: []corev1.VolumeMount{mount("r", "/", ""), mount("b", "/q", "")}},
	}
	want := map[string][]string{"a": {"b"}, "b": {"c/d"}, "r": {"q"}}
	if got := nested(pod); !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
