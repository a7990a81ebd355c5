// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"encoding/json"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/minikubelet/minikubelet/store"
)

func open(t *testing.T) *store.Store {
	t.Helper()
	s, err := store.Open(filepath.Join(t.TempDir(), "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func clusterRole(t *testing.T, s *store.Store, name string) *rbacv1.ClusterRole {
	t.Helper()
	r := new(rbacv1.ClusterRole)
	must(t, s.Get(ClusterRoles, "", name, r))
	return r
}

// TestBuiltinRoles has what somebody who is bound to a built-in role may do.
func TestBuiltinRoles(t *testing.T) {
	s := open(t)
	must(t, Bootstrap(s))
	p := New(s)
	defer p.Close()
	for _, name := range []string{"admin", "edit", "view"} {
		must(t, s.Create(RoleBindings, &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: name}, RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: name},
			Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: name}},
		}))
	}
	account := func(name string) Subject {
		return Subject{"system:serviceaccount:n:" + name, []string{"system:serviceaccounts", "system:serviceaccounts:n", "system:authenticated"}}
	}
	get := func(resource string) Request {
		return Request{Verb: "get", Resource: resource, Namespace: "n", Name: "x"}
	}
	create := func(group, resource string) Request {
		return Request{Verb: "create", Group: group, Resource: resource, Namespace: "n"}
	}
	for _, c := range []struct {
		who  Subject
		want Request
		ok   bool
	}{
		{account("view"), get("pods"), true},
		{account("view"), get("secrets"), false},
		{account("view"), create("", "pods"), false},
		{account("view"), Request{Verb: "get", Resource: "pods", Namespace: "other", Name: "x"}, false},
		{account("edit"), get("pods"), true}, // of view
		{account("edit"), get("secrets"), true},
		{account("edit"), create("", "pods"), true},
		{account("edit"), create(rbacv1.GroupName, "roles"), false},
		{account("admin"), get("secrets"), true}, // of edit
		{account("admin"), create(rbacv1.GroupName, "roles"), true},
		{account("admin"), Request{Verb: "create", Group: rbacv1.GroupName, Resource: "clusterroles"}, false},
		{account("default"), get("pods"), false},
		{account("default"), get("secrets"), false},
		{account("default"), Request{Verb: "create", Group: authorization, Resource: "selfsubjectaccessreviews"}, true},
		{account("default"), Request{Verb: "create", Group: authorization, Resource: "subjectaccessreviews"}, false},
		{account("default"), Request{Verb: "get", Path: "/api/v1"}, true},
		{account("default"), Request{Verb: "post", Path: "/api/v1"}, false},
		{account("default"), Request{Verb: "get", Path: "/openid/v1/jwks"}, true},
		{account("default"), Request{Verb: "get", Path: "/metrics"}, false},
		{Subject{"x", []string{"system:masters"}}, Request{Verb: "anything", Group: "any", Resource: "thing"}, true},
		{Subject{"x", []string{"system:masters"}}, Request{Verb: "anything", Path: "/at/all"}, true},
		{Subject{"system:anonymous", []string{"system:unauthenticated"}}, Request{Verb: "get", Path: "/version"}, true},
		{Subject{"system:anonymous", []string{"system:unauthenticated"}}, Request{Verb: "get", Path: "/api"}, false},
	} {
		if ok, reason := p.Allows(c.who, c.want); ok != c.ok {
			t.Errorf("%s %+v: %v %s", c.who.Name, c.want, ok, reason)
		}
	}
}

func TestRules(t *testing.T) {
	rule := rbacv1.PolicyRule{Verbs: []string{"get"}, APIGroups: []string{"", "apps"}, Resources: []string{"pods", "pods/log", "*/scale"}, ResourceNames: []string{"a"}}
	paths := rbacv1.PolicyRule{Verbs: []string{"*"}, NonResourceURLs: []string{"/a", "/b/*"}}
	for _, c := range []struct {
		rule rbacv1.PolicyRule
		want Request
		ok   bool
	}{
		{rule, Request{Verb: "get", Resource: "pods", Name: "a"}, true},
		{rule, Request{Verb: "get", Resource: "pods", Subresource: "log", Name: "a"}, true},
		{rule, Request{Verb: "get", Resource: "pods", Subresource: "exec", Name: "a"}, false},
		{rule, Request{Verb: "get", Resource: "pods", Name: "b"}, false},
		{rule, Request{Verb: "list", Resource: "pods", Name: "a"}, false},
		{rule, Request{Verb: "get", Group: "batch", Resource: "pods", Name: "a"}, false},
		{rule, Request{Verb: "get", Group: "apps", Resource: "deployments", Subresource: "scale", Name: "a"}, true},
		{rule, Request{Verb: "get", Group: "apps", Resource: "deployments", Name: "a"}, false},
		{rule, Request{Verb: "get", Path: "/a"}, false},
		{paths, Request{Verb: "get", Path: "/a"}, true},
		{paths, Request{Verb: "get", Path: "/a/b"}, false},
		{paths, Request{Verb: "post", Path: "/b/c/d"}, true},
		{paths, Request{Verb: "get", Resource: "pods", Name: "a"}, false},
	} {
		if got := allows(&c.rule, c.want); got != c.ok {
			t.Errorf("%+v: %v", c.want, got)
		}
	}
}

func TestDenialsNameMissingRoles(t *testing.T) {
	s := open(t)
	p := New(s)
	defer p.Close()
	if ok, reason := p.Allows(Subject{Name: "ann"}, Request{Verb: "get", Path: "/"}); ok || reason != "" {
		t.Errorf("nothing is bound: %v %q", ok, reason)
	}
	subjects := []rbacv1.Subject{{Kind: "User", Name: "ann"}}
	b := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "b"}, Subjects: subjects, RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "gone"}}
	must(t, s.Create(ClusterRoleBindings, b))
	want := `RBAC: clusterrole.rbac.authorization.k8s.io "gone" not found`
	if ok, reason := p.Allows(Subject{Name: "ann"}, Request{Verb: "get", Path: "/"}); ok || reason != want {
		t.Errorf("%v %q", ok, reason)
	}
	must(t, s.Create(ClusterRoles, role("gone", at("get", "/"))))
	if ok, reason := p.Allows(Subject{Name: "ann"}, Request{Verb: "get", Path: "/"}); !ok || reason != `RBAC: allowed by ClusterRoleBinding "b" of ClusterRole "gone" to User "ann"` {
		t.Errorf("%v %q", ok, reason)
	}
	must(t, s.Delete(ClusterRoleBindings, b))
	if ok, _ := p.Allows(Subject{Name: "ann"}, Request{Verb: "get", Path: "/"}); ok {
		t.Error("the binding is gone")
	}
}

// TestPolicyFollowsTheStore writes more than the store keeps for watchers between
// two decisions.
func TestPolicyFollowsTheStore(t *testing.T) {
	s := open(t)
	p := New(s)
	defer p.Close()
	must(t, s.Create(ClusterRoles, role("r", at("get", "/a"))))
	b := binding("r", "g")
	must(t, s.Create(ClusterRoleBindings, b))
	who := Subject{"x", []string{"g"}}
	if ok, _ := p.Allows(who, Request{Verb: "get", Path: "/a"}); !ok {
		t.Fatal("denied")
	}
	must(t, s.Delete(ClusterRoleBindings, b))
	r := clusterRole(t, s, "r")
	for range 4200 {
		must(t, s.Update(ClusterRoles, r))
	}
	if ok, _ := p.Allows(who, Request{Verb: "get", Path: "/a"}); ok {
		t.Error("a binding that is gone still grants")
	}
}

func TestCovers(t *testing.T) {
	s := open(t)
	p := New(s)
	defer p.Close()
	must(t, s.Create(ClusterRoles, role("r", on(read, in(""), "pods"))))
	must(t, s.Create(ClusterRoleBindings, binding("r", "g")))
	who := Subject{"x", []string{"g"}}
	if err := p.Covers(who, "n", []rbacv1.PolicyRule{on([]string{"get"}, in(""), "pods")}); err != nil {
		t.Error(err)
	}
	err := p.Covers(who, "n", []rbacv1.PolicyRule{on([]string{"get", "delete"}, in(""), "pods")})
	want := `user "x" (groups=["g"]) is attempting to grant RBAC permissions not currently held:` + "\n" + `{APIGroups:[""], Resources:["pods"], Verbs:["delete"]}`
	if err == nil || err.Error() != want {
		t.Errorf("%v\nnot\n%s", err, want)
	}
}

func TestBootstrapGivesBackAndKeeps(t *testing.T) {
	s := open(t)
	must(t, Bootstrap(s))
	revision := s.Revision()
	must(t, Bootstrap(s))
	if s.Revision() != revision {
		t.Error("the second time something was written")
	}
	r := clusterRole(t, s, "system:discovery")
	r.Rules = []rbacv1.PolicyRule{at("get", "/mine")}
	must(t, s.Update(ClusterRoles, r))
	b := clusterRole(t, s, "system:basic-user")
	b.Rules, b.Annotations[rbacv1.AutoUpdateAnnotationKey] = nil, "false"
	must(t, s.Update(ClusterRoles, b))
	must(t, Bootstrap(s))
	text, err := json.Marshal(clusterRole(t, s, "system:discovery").Rules)
	if must(t, err); !strings.Contains(string(text), "/mine") || !strings.Contains(string(text), "/openapi") {
		t.Errorf("%s", text)
	}
	if rules := clusterRole(t, s, "system:basic-user").Rules; rules != nil {
		t.Errorf("%v", rules)
	}
}

func TestAggregation(t *testing.T) {
	s := open(t)
	must(t, Bootstrap(s))
	r := labelled(role("mine", on([]string{"get"}, in("example.org"), "things")), "view")
	must(t, s.Create(ClusterRoles, r))
	a := aggregated("round", "loop")
	must(t, s.Create(ClusterRoles, a))
	must(t, s.Create(ClusterRoles, aggregated("loop", "round", "view")))
	must(t, aggregate(s))
	has := func(name string) bool {
		return slices.ContainsFunc(clusterRole(t, s, name).Rules, func(r rbacv1.PolicyRule) bool { return slices.Contains(r.Resources, "things") })
	}
	for _, name := range []string{"view", "edit", "admin"} {
		if !has(name) {
			t.Errorf("%s lacks a rule that is labelled for view", name)
		}
	}
	r = clusterRole(t, s, "mine")
	must(t, s.Delete(ClusterRoles, r))
	done := make(chan error, 1)
	go func() { done <- Aggregate(t.Context(), s, slog.New(slog.DiscardHandler)) }()
	w := s.Watch(ClusterRoles, s.Revision()-1)
	defer w.Close()
	for has("view") || has("edit") || has("admin") {
		if _, err := w.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestUnreadableRoleBlocksNoOther damages a role in the file.
func TestUnreadableRoleBlocksNoOther(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	s, err := store.Open(path)
	must(t, err)
	must(t, Bootstrap(s))
	must(t, s.Create(ClusterRoles, role("broken")))
	must(t, s.Create(ClusterRoles, labelled(role("mine", on([]string{"get"}, in("example.org"), "things")), "view")))
	must(t, s.Close())
	db, err := bolt.Open(path, 0o600, nil)
	must(t, err)
	must(t, db.Update(func(tx *bolt.Tx) error {
		return tx.ForEach(func(_ []byte, b *bolt.Bucket) error {
			roles := b.Bucket([]byte(ClusterRoles))
			if roles == nil || roles.Get([]byte("/broken")) == nil {
				return nil
			}
			return roles.Put([]byte("/broken"), []byte("{"))
		})
	}))
	must(t, db.Close())
	s, err = store.Open(path)
	must(t, err)
	defer s.Close()
	if err := aggregate(s); err == nil {
		t.Error("nobody hears of the damaged role")
	}
	if !slices.ContainsFunc(clusterRole(t, s, "view").Rules, func(r rbacv1.PolicyRule) bool { return slices.Contains(r.Resources, "things") }) {
		t.Error("view lacks a rule that is labelled for it")
	}
}
