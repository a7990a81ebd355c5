// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/minikubelet/minikubelet/apiserver/rbac"
	"github.com/minikubelet/minikubelet/store"
)

// users gives the bench's server a token file: the token of a user is "token-" and
// the name.
func (b *bench) users(lines string) {
	b.t.Helper()
	var err error
	if b.server.cfg.TokenFile, err = readTokens(strings.NewReader(lines)); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) put(resource string, o store.Object) {
	b.t.Helper()
	o.SetUID(types.UID("uid-" + o.GetName()))
	if err := b.store.Create(resource, o); err != nil {
		b.t.Fatal(err)
	}
}

// as asks over the network, as the user whose token it is.
func (b *bench) as(token, method, url string, header ...string) (int, string) {
	b.t.Helper()
	return b.sendAs(token, method, url, "", header...)
}

// sendAs is as with a body.
func (b *bench) sendAs(token, method, url, body string, header ...string) (int, string) {
	b.t.Helper()
	r := httptest.NewRequest(method, url, strings.NewReader(body))
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	b.server.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func TestTokenFile(t *testing.T) {
	for text, want := range map[string]string{
		"":                              "",
		"t1,ann,1\nt2,bob,2,\"a, b\"\n": "",
		"t1,ann":                        "line 1: must have",
		"t1,ann,1\n,bob,2":              "line 2: must have",
		"t1,,1":                         "line 1: must have",
		"t1,ann,1\nt1,bob,2":            "line 2: the token is that of an earlier line",
		"t1,ann,1\nt2,\"bob":            "line 2",
	} {
		f, err := readTokens(strings.NewReader(text))
		switch {
		case want == "" && err != nil:
			t.Errorf("%q: %v", text, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "t1")):
			t.Errorf("%q: %v; want %q and no token", text, err, want)
		case want == "" && text != "":
			if who := f.find("t2"); who == nil || who.Name != "bob" || who.UID != "2" || !slices.Equal(who.Groups, []string{"a", "b", groupAuthenticated}) {
				t.Errorf("%q: %v", text, who)
			}
		}
	}
}

func TestCallersAreKnown(t *testing.T) {
	b := newBench(t)
	b.users("token-ann,ann,7,dev")
	cert := &x509.Certificate{Raw: []byte("x"), Subject: pkix.Name{CommonName: "carol", Organization: []string{"ops"}}}
	request := func(header string, certs ...*x509.Certificate) *http.Request {
		r := httptest.NewRequest("GET", "/", nil)
		if header != "" {
			r.Header.Set("Authorization", header)
		}
		if certs != nil {
			r.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{certs}}
		}
		return r
	}
	for name, c := range map[string]struct {
		r    *http.Request
		want string // name and groups; empty: refused
	}{
		"nothing":                    {request(""), "system:anonymous [system:unauthenticated]"},
		"a token":                    {request("Bearer token-ann"), "ann [dev system:authenticated]"},
		"a token, in other letters":  {request("bearer  token-ann"), "ann [dev system:authenticated]"},
		"a wrong token":              {request("Bearer token-an"), ""},
		"no token":                   {request("Bearer "), ""},
		"a password":                 {request("Basic YTpi"), ""},
		"a certificate":              {request("", cert), "carol [ops system:authenticated]"},
		"a certificate and a token":  {request("Bearer token-ann", cert), "carol [ops system:authenticated]"},
		"a certificate of nobody":    {request("", &x509.Certificate{}), "system:anonymous [system:unauthenticated]"},
		"no name, but a token":       {request("Bearer token-ann", &x509.Certificate{}), "ann [dev system:authenticated]"},
		"no name, and a wrong token": {request("Bearer x", &x509.Certificate{}), ""},
	} {
		who, err := b.server.authenticate(c.r)
		got := ""
		if err == nil {
			got = who.Name + " [" + strings.Join(who.Groups, " ") + "]"
		}
		if got != c.want {
			t.Errorf("%s: %q %v, not %q", name, got, err, c.want)
		}
	}
	if code, body := b.as("nobody", "GET", "/healthz"); code != 401 || !strings.Contains(body, `"message":"Unauthorized"`) || !strings.Contains(body, `"reason":"Unauthorized"`) {
		t.Errorf("a wrong token: %d %s", code, body)
	}
}

// grant lets a user do something in a namespace, or everywhere.
func (b *bench) grant(user, namespace string, rules ...rbacv1.PolicyRule) {
	b.t.Helper()
	name := "r" + user + namespace
	subjects := []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: user}}
	if namespace == "" {
		b.put(rbac.ClusterRoles, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules})
		b.put(rbac.ClusterRoleBindings, &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name}, Subjects: subjects,
			RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: name}})
		return
	}
	b.put(rbac.Roles, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Rules: rules})
	b.put(rbac.RoleBindings, &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Subjects: subjects,
		RoleRef: rbacv1.RoleRef{Kind: "Role", Name: name}})
}

func TestRequestsNeedRights(t *testing.T) {
	b := newBench(t)
	b.users("token-ann,ann,1\ntoken-root,root,2,system:masters")
	if err := rbac.Bootstrap(b.store); err != nil {
		t.Fatal(err)
	}
	b.pod("default", "a")
	b.pod("other", "a")
	for url, want := range map[string]string{
		"/api/v1/namespaces/default/pods/a":     `pods \"a\" is forbidden: User \"ann\" cannot get resource \"pods\" in API group \"\" in the namespace \"default\"`,
		"/api/v1/pods":                          `pods is forbidden: User \"ann\" cannot list resource \"pods\" in API group \"\" at the cluster scope`,
		"/api/v1/pods?watch=1":                  `cannot watch resource \"pods\"`,
		"/api/v1/namespaces/default/pods/a/log": `pods \"a\" is forbidden: User \"ann\" cannot get resource \"pods/log\"`,
		"/nonsense":                             `forbidden: User \"ann\" cannot get path \"/nonsense\"`,
	} {
		if code, body := b.as("token-ann", "GET", url); code != 403 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s, not %s", url, code, body, want)
		}
	}
	for _, url := range []string{"/api", "/apis", "/api/v1", "/version", "/openapi/v3"} {
		if code, body := b.as("token-ann", "GET", url); code != 200 {
			t.Errorf("%s: %d %s", url, code, body)
		}
	}
	b.grant("ann", "default", rbacv1.PolicyRule{Verbs: []string{"get", "list"}, APIGroups: []string{""}, Resources: []string{"pods"}},
		rbacv1.PolicyRule{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"namespaces"}})
	b.put("namespaces", newNamespace("default"))
	for request, want := range map[string]int{
		"GET /api/v1/namespaces/default/pods/a":     200, // no wait: a decision sees the writes before it
		"GET /api/v1/namespaces/default/pods":       200,
		"GET /api/v1/namespaces/default":            200, // about the namespace itself
		"GET /api/v1/namespaces/other":              403,
		"GET /api/v1/namespaces/default/pods/a/log": 403,
		"GET /api/v1/namespaces/other/pods/a":       403,
		"GET /api/v1/pods":                          403,
		"DELETE /api/v1/namespaces/default/pods/a":  403,
		"POST /api/v1":                              403,
	} {
		method, url, _ := strings.Cut(request, " ")
		if code, body := b.as("token-ann", method, url); code != want {
			t.Errorf("%s: %d %s, not %d", request, code, body, want)
		}
	}
	if code, body := b.as("token-root", "GET", "/api/v1/pods"); code != 200 {
		t.Errorf("an administrator: %d %s", code, body)
	}
}

// Who makes an object by an update or by an apply needs the right to create it.
func TestCreatingNeedsItsRight(t *testing.T) {
	b := newBench(t)
	b.users("token-ann,ann,1")
	b.space("default")
	lease := rbacv1.PolicyRule{Verbs: []string{"update", "patch"}, APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}}
	b.grant("ann", "default", lease)
	const at = "/apis/coordination.k8s.io/v1/namespaces/default/leases/"
	put := func(name string) (int, string) {
		return b.sendAs("token-ann", "PUT", at+name, `{"apiVersion":"coordination.k8s.io/v1","kind":"Lease"}`, "Content-Type", "application/json")
	}
	apply := func(name string) (int, string) {
		return b.sendAs("token-ann", "PATCH", at+name+"?fieldManager=m", `{"apiVersion":"coordination.k8s.io/v1","kind":"Lease"}`, "Content-Type", "application/apply-patch+yaml")
	}
	for name, send := range map[string]func(string) (int, string){"put": put, "apply": apply} {
		if code, body := send(name); code != 403 || !strings.Contains(body, `User \"ann\" cannot create resource \"leases\"`) {
			t.Errorf("%s: %d %s", name, code, body)
		}
	}
	lease.Verbs = append(lease.Verbs, "create")
	b.grant("ann", "", lease)
	for name, send := range map[string]func(string) (int, string){"put": put, "apply": apply} {
		if code, body := send(name); code != 201 {
			t.Errorf("%s, with the right: %d %s", name, code, body)
		}
	}
}

func TestResourceNamesAndListsOfOne(t *testing.T) {
	b := newBench(t)
	b.users("token-ann,ann,1")
	b.pod("default", "a")
	b.grant("ann", "default", rbacv1.PolicyRule{Verbs: []string{"get", "list"}, APIGroups: []string{""}, Resources: []string{"pods"}, ResourceNames: []string{"a"}})
	for url, want := range map[string]int{
		"/api/v1/namespaces/default/pods/a":                                     200,
		"/api/v1/namespaces/default/pods/b":                                     403,
		"/api/v1/namespaces/default/pods":                                       403,
		"/api/v1/namespaces/default/pods?fieldSelector=metadata.name%3Da":       200,
		"/api/v1/namespaces/default/pods?fieldSelector=metadata.name%3Db":       403,
		"/api/v1/namespaces/default/pods?fieldSelector=metadata.name!%3Da":      403,
		"/api/v1/namespaces/default/pods?fieldSelector=metadata.name%3Da,x%3D1": 400,
	} {
		if code, body := b.as("token-ann", "GET", url); code != want {
			t.Errorf("%s: %d %s, not %d", url, code, body, want)
		}
	}
}

func TestImpersonation(t *testing.T) {
	b := newBench(t)
	b.users("token-ann,ann,1\ntoken-root,root,2,system:masters\ntoken-bob,bob,3")
	b.pod("default", "a")
	pods := rbacv1.PolicyRule{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"pods"}}
	b.grant("bob", "default", pods)
	b.grant("system:serviceaccount:default:robot", "default", pods)
	b.grant("ann", "", rbacv1.PolicyRule{Verbs: []string{"impersonate"}, APIGroups: []string{""}, Resources: []string{"users"}, ResourceNames: []string{"bob"}})
	for name, c := range map[string]struct {
		token  string
		header []string
		want   int
		text   string
	}{
		"an administrator as bob":            {"token-root", []string{"Impersonate-User", "bob"}, 200, ""},
		"an administrator as nobody":         {"token-root", []string{"Impersonate-User", "carol"}, 403, `User \"carol\" cannot get`},
		"an administrator as anonymous":      {"token-root", []string{"Impersonate-User", "system:anonymous"}, 403, "system:anonymous"},
		"an administrator as ServiceAccount": {"token-root", []string{"Impersonate-User", "system:serviceaccount:default:robot"}, 200, ""},
		"a group alone":                      {"token-root", []string{"Impersonate-Group", "system:masters"}, 400, "Impersonate-User"},
		"ann as bob":                         {"token-ann", []string{"Impersonate-User", "bob"}, 200, ""},
		"ann as root":                        {"token-ann", []string{"Impersonate-User", "root"}, 403, `users \"root\" is forbidden: User \"ann\" cannot impersonate resource \"users\" in API group \"\" at the cluster scope`},
		"ann as bob in the admins' group":    {"token-ann", []string{"Impersonate-User", "bob", "Impersonate-Group", "system:masters"}, 403, `groups \"system:masters\" is forbidden`},
		"ann as bob with a UID":              {"token-ann", []string{"Impersonate-User", "bob", "Impersonate-Uid", "3"}, 403, `uids.authentication.k8s.io \"3\" is forbidden`},
		"ann as bob with scopes":             {"token-ann", []string{"Impersonate-User", "bob", "Impersonate-Extra-Scopes", "all"}, 403, `resource \"userextras/scopes\" in API group \"authentication.k8s.io\"`},
		"ann as a ServiceAccount":            {"token-ann", []string{"Impersonate-User", "system:serviceaccount:default:robot"}, 403, `serviceaccounts \"robot\" is forbidden`},
		"bob as himself":                     {"token-bob", []string{"Impersonate-User", "bob"}, 403, "cannot impersonate"},
		"nobody as root":                     {"", []string{"Impersonate-User", "root"}, 403, `User \"system:anonymous\" cannot impersonate`},
	} {
		if code, body := b.as(c.token, "GET", "/api/v1/namespaces/default/pods/a", c.header...); code != c.want || !strings.Contains(body, c.text) {
			t.Errorf("%s: %d %s, not %d %s", name, code, body, c.want, c.text)
		}
	}
}

func TestNobodyTakesTheOthersPlaces(t *testing.T) {
	p := newPlaces("requests", 40)
	take := func(name string, groups ...string) error {
		_, err := p.take(&Identity{Name: name, Groups: groups})
		return err
	}
	for i := range 10 {
		if err := take("greedy"); err != nil {
			t.Fatalf("%d: %v", i, err)
		}
	}
	if err := take("greedy"); err == nil || !strings.Contains(err.Error(), "too many requests of greedy") {
		t.Errorf("a quarter is taken: %v", err)
	}
	for i := range 20 {
		if err := take([]string{"second", "third"}[i%2]); err != nil {
			t.Fatalf("%d: %v", i, err)
		}
	}
	if err := take("fourth"); err == nil {
		t.Error("three quarters are taken")
	}
	var last func()
	for i := range 10 {
		var err error
		if last, err = p.take(socketIdentity()); err != nil {
			t.Fatalf("%d of the administrator: %v", i, err)
		}
	}
	if err := take("root", groupMasters); err == nil {
		t.Error("all are taken")
	}
	last()
	if err := take("root", groupMasters); err != nil {
		t.Error(err)
	}
}

func newNamespace(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
}
