// SPDX-License-Identifier: Apache-2.0

package token

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/minikubelet/minikubelet/store"
)

// bench is an authority with a ServiceAccount "robot" of the namespace "n", a Pod
// "p" that runs as it, a Secret and a Node.
type bench struct {
	*Authority
	t     *testing.T
	clock time.Time
}

func write(path string, data []byte) error { return os.WriteFile(path, data, 0o600) }

func newBench(t *testing.T) *bench {
	t.Helper()
	dir := t.TempDir()
	s, err := store.Open(filepath.Join(dir, "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	a, err := Open(filepath.Join(dir, "key.pem"), write, s)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{a, t, time.Now()}
	a.now = func() time.Time { return b.clock }
	meta := func(namespace, name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID("uid-" + name)}
	}
	for resource, o := range map[string]store.Object{
		"serviceaccounts": &corev1.ServiceAccount{ObjectMeta: meta("n", "robot")},
		"pods":            &corev1.Pod{ObjectMeta: meta("n", "p"), Spec: corev1.PodSpec{ServiceAccountName: "robot", NodeName: "node"}},
		"secrets":         &corev1.Secret{ObjectMeta: meta("n", "s")},
		"nodes":           &corev1.Node{ObjectMeta: meta("", "node")},
	} {
		if err := s.Create(resource, o); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func (b *bench) ask(spec authenticationv1.TokenRequestSpec) *authenticationv1.TokenRequest {
	b.t.Helper()
	tr, err := b.Request("n", "robot", &authenticationv1.TokenRequest{Spec: spec})
	if err != nil {
		b.t.Fatal(err)
	}
	return tr
}

func bound(kind, name string) *authenticationv1.BoundObjectReference {
	return &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: kind, Name: name}
}

func seconds(n int64) *int64 { return &n }

func TestKeyIsKept(t *testing.T) {
	b := newBench(t)
	text := b.ask(authenticationv1.TokenRequestSpec{}).Status.Token
	path := filepath.Join(t.TempDir(), "key.pem")
	first, err := Open(path, write, b.store)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Open(path, func(string, []byte) error { t.Error("a second key"); return nil }, b.store)
	if err != nil || again.key.id != first.key.id {
		t.Fatalf("%v", err)
	}
	if _, err := again.Verify(text, nil); err == nil {
		t.Error("a token of another key is taken")
	}
	if err := write(path, []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, write, b.store); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a damaged key: %v", err)
	}
}

func TestClaimsAreKubernetes(t *testing.T) {
	b := newBench(t)
	b.clock = time.Unix(1_700_000_000, 0)
	tr := b.ask(authenticationv1.TokenRequestSpec{BoundObjectRef: bound("Pod", "p"), ExpirationSeconds: seconds(MountedSeconds)})
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(tr.Status.Token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	if id, _ := claims["jti"].(string); len(id) != 36 {
		t.Errorf("jti: %v", claims["jti"])
	}
	delete(claims, "jti")
	got, _ := json.Marshal(claims)
	want := `{"aud":["https://kubernetes.default.svc"],"exp":1731536000,"iat":1700000000,"iss":"https://kubernetes.default.svc",` +
		`"kubernetes.io":{"namespace":"n","node":{"name":"node","uid":"uid-node"},"pod":{"name":"p","uid":"uid-p"},` +
		`"serviceaccount":{"name":"robot","uid":"uid-robot"},"warnafter":1700003607},"nbf":1700000000,"sub":"system:serviceaccount:n:robot"}`
	if string(got) != want {
		t.Errorf("%s\nnot\n%s", got, want)
	}
	if end := tr.Status.ExpirationTimestamp.Unix(); end != 1_700_003_607 {
		t.Errorf("to be renewed by %d", end)
	}
	b.clock = b.clock.Add(2 * time.Hour)
	account, err := b.Verify(tr.Status.Token, nil)
	if err != nil || !account.Stale || account.PodName != "p" || account.PodUID != "uid-p" || account.NodeName != "node" || account.UID != "uid-robot" {
		t.Errorf("%+v %v", account, err)
	}
}

func TestRequestsAreChecked(t *testing.T) {
	b := newBench(t)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "other", UID: "u"}, Spec: corev1.PodSpec{ServiceAccountName: "default"}}
	if err := b.store.Create("pods", pod); err != nil {
		t.Fatal(err)
	}
	type spec = authenticationv1.TokenRequestSpec
	for name, c := range map[string]struct {
		account string
		request authenticationv1.TokenRequest
		is      func(error) bool
		text    string
	}{
		"no account":      {"gone", authenticationv1.TokenRequest{}, apierrors.IsNotFound, `serviceaccounts "gone" not found`},
		"too short":       {"robot", authenticationv1.TokenRequest{Spec: spec{ExpirationSeconds: seconds(599)}}, apierrors.IsInvalid, "may not specify a duration less than 10 minutes"},
		"too long":        {"robot", authenticationv1.TokenRequest{Spec: spec{ExpirationSeconds: seconds(1<<32 + 1)}}, apierrors.IsInvalid, "2^32"},
		"another name":    {"robot", authenticationv1.TokenRequest{ObjectMeta: metav1.ObjectMeta{Name: "x"}}, apierrors.IsInvalid, "must match the service account name"},
		"another UID":     {"robot", authenticationv1.TokenRequest{ObjectMeta: metav1.ObjectMeta{UID: "x"}}, apierrors.IsConflict, "does not match the UID of the service account"},
		"no Pod":          {"robot", authenticationv1.TokenRequest{Spec: spec{BoundObjectRef: bound("Pod", "x")}}, apierrors.IsNotFound, `pods "x" not found`},
		"another's Pod":   {"robot", authenticationv1.TokenRequest{Spec: spec{BoundObjectRef: bound("Pod", "other")}}, apierrors.IsBadRequest, "different serviceaccount name"},
		"no Secret":       {"robot", authenticationv1.TokenRequest{Spec: spec{BoundObjectRef: bound("Secret", "x")}}, apierrors.IsNotFound, `secrets "x" not found`},
		"a ConfigMap":     {"robot", authenticationv1.TokenRequest{Spec: spec{BoundObjectRef: bound("ConfigMap", "x")}}, apierrors.IsBadRequest, "cannot bind token to object of type /v1, Kind=ConfigMap"},
		"an earlier Pod":  {"robot", authenticationv1.TokenRequest{Spec: spec{BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: "p", UID: "old"}}}, apierrors.IsConflict, "does not match the UID in record"},
		"in its own name": {"robot", authenticationv1.TokenRequest{ObjectMeta: metav1.ObjectMeta{Name: "robot", Namespace: "n", UID: "uid-robot"}}, nil, ""},
	} {
		tr, err := b.Request("n", c.account, &c.request)
		switch {
		case c.is == nil && (err != nil || tr.Status.Token == "" || *tr.Spec.ExpirationSeconds != 3600):
			t.Errorf("%s: %+v %v", name, tr, err)
		case c.is != nil && (err == nil || !c.is(err) || !strings.Contains(err.Error(), c.text)):
			t.Errorf("%s: %v, not %s", name, err, c.text)
		}
	}
}

func TestTokensEnd(t *testing.T) {
	type spec = authenticationv1.TokenRequestSpec
	deleted := func(resource, namespace, name string, o store.Object) func(*bench) {
		return func(b *bench) {
			if err := b.store.Get(resource, namespace, name, o); err != nil {
				b.t.Fatal(err)
			}
			if err := b.store.Delete(resource, o); err != nil {
				b.t.Fatal(err)
			}
		}
	}
	again := func(resource, namespace, name string, o store.Object) func(*bench) {
		return func(b *bench) {
			deleted(resource, namespace, name, o)(b)
			o.SetUID("a new one")
			if err := b.store.Create(resource, o); err != nil {
				b.t.Fatal(err)
			}
		}
	}
	ending := func(since time.Duration) func(*bench) {
		return func(b *bench) {
			var pod corev1.Pod
			if err := b.store.Get("pods", "n", "p", &pod); err != nil {
				b.t.Fatal(err)
			}
			at := metav1.NewTime(b.clock.Add(-since))
			pod.DeletionTimestamp = &at
			if err := b.store.Update("pods", &pod); err != nil {
				b.t.Fatal(err)
			}
		}
	}
	toPod := spec{BoundObjectRef: bound("Pod", "p")}
	for name, c := range map[string]struct {
		spec spec
		then func(*bench)
		want string // why it is bad; empty: it is good
	}{
		"nothing happens":               {spec{}, func(*bench) {}, ""},
		"its time is nearly over":       {spec{}, func(b *bench) { b.clock = b.clock.Add(59 * time.Minute) }, ""},
		"its time is over":              {spec{}, func(b *bench) { b.clock = b.clock.Add(62 * time.Minute) }, "expired"},
		"the clock is set back":         {spec{}, func(b *bench) { b.clock = b.clock.Add(-time.Hour) }, "not valid yet"},
		"the account is gone":           {spec{}, deleted("serviceaccounts", "n", "robot", new(corev1.ServiceAccount)), "invalidated"},
		"the account is another":        {spec{}, again("serviceaccounts", "n", "robot", new(corev1.ServiceAccount)), "invalidated"},
		"a Pod is gone, of no interest": {spec{}, deleted("pods", "n", "p", new(corev1.Pod)), ""},
		"the Pod is gone":               {toPod, deleted("pods", "n", "p", new(corev1.Pod)), "invalidated"},
		"the Pod is another":            {toPod, again("pods", "n", "p", new(corev1.Pod)), "invalidated"},
		"the Pod is ending":             {toPod, ending(-30 * time.Second), ""},
		"the Pod should be gone":        {toPod, ending(2 * time.Minute), "invalidated"},
		"the Secret is gone":            {spec{BoundObjectRef: bound("Secret", "s")}, deleted("secrets", "n", "s", new(corev1.Secret)), "invalidated"},
		"the Node is gone":              {spec{BoundObjectRef: bound("Node", "node")}, deleted("nodes", "", "node", new(corev1.Node)), "invalidated"},
		"the Pod's Node is gone":        {toPod, deleted("nodes", "", "node", new(corev1.Node)), ""},
		"for others":                    {spec{Audiences: []string{"vault"}}, func(*bench) {}, "audiences"},
		"for others and the API":        {spec{Audiences: []string{"vault", Issuer}}, func(*bench) {}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			text := b.ask(c.spec).Status.Token
			c.then(b)
			account, err := b.Verify(text, nil)
			switch {
			case c.want == "" && (err != nil || account.Name != "robot" || account.Namespace != "n"):
				t.Errorf("%+v %v", account, err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("%v, not %s", err, c.want)
			}
		})
	}
}

// TestForgeries has tokens that a careless check would take.
func TestForgeries(t *testing.T) {
	b := newBench(t)
	text := b.ask(authenticationv1.TokenRequestSpec{}).Status.Token
	parts := strings.Split(text, ".")
	encode := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	public, err := b.key.private.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	symmetric, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: public}, nil)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	confused, err := jwt.Signed(symmetric).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	delete(claims, "exp")
	endless, err := jwt.Signed(b.signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	other := strings.Replace(string(payload), "robot", "admin", -1)
	for name, forged := range map[string]string{
		"empty": "", "dots": "..", "garbage": "a.b.c", "too long": text + strings.Repeat("A", sizeMax),
		"no signature":             parts[0] + "." + parts[1] + ".",
		"no algorithm":             encode(`{"alg":"none"}`) + "." + parts[1] + ".",
		"another account":          parts[0] + "." + encode(other) + "." + parts[2],
		"signed by the public key": confused,
		"without an end":           endless,
	} {
		if account, err := b.Verify(forged, nil); err == nil {
			t.Errorf("%s: taken for %+v", name, account)
		}
	}
	if _, err := b.Verify(text, nil); err != nil {
		t.Error(err)
	}
}

// TestOthersCanCheck uses the documents that are made for others.
func TestOthersCanCheck(t *testing.T) {
	b := newBench(t)
	data, err := b.KeySet()
	if err != nil {
		t.Fatal(err)
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(data, &set); err != nil || !set.Keys[0].IsPublic() || strings.Contains(string(data), `"d"`) {
		t.Fatalf("%s %v", data, err)
	}
	parsed, err := jwt.ParseSigned(b.ask(authenticationv1.TokenRequestSpec{}).Status.Token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	var public jwt.Claims
	if err := parsed.Claims(set.Key(parsed.Headers[0].KeyID)[0].Key, &public); err != nil || public.Issuer != Issuer {
		t.Errorf("%+v %v", public, err)
	}
	data, err = b.Discovery("https://x/openid/v1/jwks")
	if want := `{"issuer":"https://kubernetes.default.svc","jwks_uri":"https://x/openid/v1/jwks","response_types_supported":["id_token"],"subject_types_supported":["public"],"id_token_signing_alg_values_supported":["ES256"]}`; err != nil || string(data) != want {
		t.Errorf("%s %v", data, err)
	}
}

func FuzzVerify(f *testing.F) {
	dir := f.TempDir()
	s, err := store.Open(filepath.Join(dir, "state.db"))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = s.Close() })
	a, err := Open(filepath.Join(dir, "key.pem"), write, s)
	if err != nil {
		f.Fatal(err)
	}
	good, err := a.sign(binding{Namespace: "n", Account: ref{"robot", "u"}}, []string{Issuer}, time.Hour, 0)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add("a.b.c")
	f.Add(base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"https://kubernetes.default.svc"}`)) + ".")
	f.Fuzz(func(t *testing.T, text string) {
		if account, err := a.Verify(text, nil); err == nil { // there is no such account
			t.Errorf("%q: %+v", text, account)
		}
	})
}
