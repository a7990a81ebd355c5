// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/minikubelet/minikubelet/apiserver/rbac"
	"github.com/minikubelet/minikubelet/apiserver/token"
)

// network is the bench's server as it is over the network, with the built-in roles,
// tokens, the ServiceAccount default/robot and the administrator's token
// "token-root".
func (b *bench) network() *httptest.Server {
	b.t.Helper()
	b.users("token-root,root,1,system:masters\ntoken-ann,ann,7,dev")
	var err error
	b.server.cfg.Tokens, err = token.Open(filepath.Join(b.t.(*testing.T).TempDir(), "key.pem"), func(path string, data []byte) error {
		return os.WriteFile(path, data, 0o600)
	}, b.store)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := rbac.Bootstrap(b.store); err != nil {
		b.t.Fatal(err)
	}
	b.put("serviceaccounts", &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "robot"}})
	server := httptest.NewTLSServer(b.server)
	b.t.Cleanup(server.Close)
	return server
}

func clientOf(t *testing.T, server *httptest.Server, token, contentType string) kubernetes.Interface {
	t.Helper()
	c, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL, BearerToken: token, TLSClientConfig: rest.TLSClientConfig{Insecure: true},
		QPS: 1000, Burst: 1000, ContentConfig: rest.ContentConfig{ContentType: contentType}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestServiceAccountsAreWhatTheirTokensSay(t *testing.T) {
	b := newBench(t)
	server := b.network()
	for _, contentType := range contentTypes {
		root := clientOf(t, server, "token-root", contentType)
		tr, err := root.CoreV1().ServiceAccounts("default").CreateToken(t.Context(), "robot", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
		if err != nil || tr.Status.Token == "" || tr.Name != "robot" {
			t.Fatalf("%s: %+v %v", contentType, tr, err)
		}
		robot := clientOf(t, server, tr.Status.Token, contentType)
		self, err := robot.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
		if err != nil {
			t.Fatalf("%s: %v", contentType, err)
		}
		who := self.Status.UserInfo
		if who.Username != "system:serviceaccount:default:robot" || who.UID != "uid-robot" || len(who.Extra["authentication.kubernetes.io/credential-id"]) != 1 ||
			!slices.Equal(who.Groups, []string{"system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"}) {
			t.Errorf("%s: %+v", contentType, who)
		}
		if _, err := robot.CoreV1().Secrets("default").List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
			t.Errorf("%s: Secrets: %v", contentType, err)
		}
		if _, err := robot.CoreV1().ServiceAccounts("default").CreateToken(t.Context(), "robot", &authenticationv1.TokenRequest{}, metav1.CreateOptions{}); !apierrors.IsForbidden(err) {
			t.Errorf("%s: a token by a token: %v", contentType, err)
		}
	}
}

func TestTokenReviews(t *testing.T) {
	b := newBench(t)
	root := clientOf(t, b.network(), "token-root", "")
	tr, err := root.CoreV1().ServiceAccounts("default").CreateToken(t.Context(), "robot",
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{"vault"}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		spec authenticationv1.TokenReviewSpec
		want string // user and audiences
		text string // of the error
	}{
		"for its audience":       {authenticationv1.TokenReviewSpec{Token: tr.Status.Token, Audiences: []string{"vault", "x"}}, "system:serviceaccount:default:robot [vault]", ""},
		"for the API":            {authenticationv1.TokenReviewSpec{Token: tr.Status.Token}, "", "audiences"},
		"of the file":            {authenticationv1.TokenReviewSpec{Token: "token-ann"}, "ann [https://kubernetes.default.svc]", ""},
		"of the file, for vault": {authenticationv1.TokenReviewSpec{Token: "token-ann", Audiences: []string{"vault"}}, "", ""},
		"nobody's":               {authenticationv1.TokenReviewSpec{Token: "x"}, "", ""},
	} {
		review, err := root.AuthenticationV1().TokenReviews().Create(t.Context(), &authenticationv1.TokenReview{Spec: c.spec}, metav1.CreateOptions{})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got := ""
		if s := review.Status; s.Authenticated {
			got = s.User.Username + " [" + strings.Join(s.Audiences, " ") + "]"
		}
		if got != c.want || !strings.Contains(review.Status.Error, c.text) || c.text == "" && review.Status.Error != "" {
			t.Errorf("%s: %+v", name, review.Status)
		}
	}
	if _, err := root.AuthenticationV1().TokenReviews().Create(t.Context(), &authenticationv1.TokenReview{}, metav1.CreateOptions{}); !apierrors.IsBadRequest(err) {
		t.Errorf("no token: %v", err)
	}
}

func TestAccessReviews(t *testing.T) {
	b := newBench(t)
	server := b.network()
	root, ann := clientOf(t, server, "token-root", ""), clientOf(t, server, "token-ann", "")
	b.grant("ann", "default", rbacv1.PolicyRule{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"pods"}})
	pods := func(verb, namespace string) *authorizationv1.ResourceAttributes {
		return &authorizationv1.ResourceAttributes{Verb: verb, Namespace: namespace, Resource: "pods"}
	}
	own := func(c kubernetes.Interface, spec authorizationv1.SelfSubjectAccessReviewSpec) (authorizationv1.SubjectAccessReviewStatus, error) {
		r, err := c.AuthorizationV1().SelfSubjectAccessReviews().Create(t.Context(), &authorizationv1.SelfSubjectAccessReview{Spec: spec}, metav1.CreateOptions{})
		if err != nil {
			return authorizationv1.SubjectAccessReviewStatus{}, err
		}
		return r.Status, nil
	}
	for _, c := range []struct {
		who  kubernetes.Interface
		spec authorizationv1.SelfSubjectAccessReviewSpec
		want bool
	}{
		{ann, authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: pods("get", "default")}, true},
		{ann, authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: pods("get", "other")}, false},
		{ann, authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: pods("delete", "default")}, false},
		{ann, authorizationv1.SelfSubjectAccessReviewSpec{NonResourceAttributes: &authorizationv1.NonResourceAttributes{Verb: "get", Path: "/apis"}}, true},
		{root, authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: pods("delete", "any")}, true},
	} {
		if got, err := own(c.who, c.spec); err != nil || got.Allowed != c.want {
			t.Errorf("%+v: %+v %v", c.spec, got, err)
		}
	}
	if _, err := own(ann, authorizationv1.SelfSubjectAccessReviewSpec{}); !apierrors.IsInvalid(err) {
		t.Errorf("about nothing: %v", err)
	}
	of := authorizationv1.SubjectAccessReviewSpec{User: "ann", ResourceAttributes: pods("get", "default")}
	if r, err := root.AuthorizationV1().SubjectAccessReviews().Create(t.Context(), &authorizationv1.SubjectAccessReview{Spec: of}, metav1.CreateOptions{}); err != nil || !r.Status.Allowed || !strings.Contains(r.Status.Reason, "RBAC: allowed by RoleBinding") {
		t.Errorf("of another: %+v %v", r, err)
	}
	if _, err := ann.AuthorizationV1().SubjectAccessReviews().Create(t.Context(), &authorizationv1.SubjectAccessReview{Spec: of}, metav1.CreateOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("of another, by ann: %v", err)
	}
	local := func(namespace string) (*authorizationv1.LocalSubjectAccessReview, error) {
		return root.AuthorizationV1().LocalSubjectAccessReviews(namespace).Create(t.Context(),
			&authorizationv1.LocalSubjectAccessReview{ObjectMeta: metav1.ObjectMeta{Namespace: namespace}, Spec: of}, metav1.CreateOptions{})
	}
	if r, err := local("default"); err != nil || !r.Status.Allowed {
		t.Errorf("local: %+v %v", r, err)
	}
	if _, err := local("other"); !apierrors.IsInvalid(err) {
		t.Errorf("of another namespace: %v", err)
	}
	rules, err := ann.AuthorizationV1().SelfSubjectRulesReviews().Create(t.Context(),
		&authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: "default"}}, metav1.CreateOptions{})
	if err != nil || len(rules.Status.ResourceRules) != 3 || len(rules.Status.NonResourceRules) != 2 || rules.Status.Incomplete {
		t.Errorf("own rules: %+v %v", rules, err)
	}
}

// TestNobodyGetsMoreRightsByWritingThem has a user who may write roles and bindings
// and read Pods.
func TestNobodyGetsMoreRightsByWritingThem(t *testing.T) {
	b := newBench(t)
	ann := clientOf(t, b.network(), "token-ann", "").RbacV1()
	b.space("default")
	readPods := rbacv1.PolicyRule{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"pods"}}
	readSecrets := rbacv1.PolicyRule{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"secrets"}}
	write := rbacv1.PolicyRule{Verbs: []string{"create", "update", "get", "patch"}, APIGroups: []string{rbacv1.GroupName}, Resources: []string{"*"}}
	b.grant("ann", "", write, readPods)
	b.put(rbac.ClusterRoles, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "bindable"}, Rules: []rbacv1.PolicyRule{readSecrets}})
	b.grant("ann2", "default", rbacv1.PolicyRule{})
	role := func(name string, rules ...rbacv1.PolicyRule) *rbacv1.Role {
		return &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}
	}
	bind := func(role string) error {
		_, err := ann.RoleBindings("default").Create(t.Context(), &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "b-" + role},
			RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: role}, Subjects: []rbacv1.Subject{{Kind: "User", Name: "ann"}}}, metav1.CreateOptions{})
		return err
	}
	made, err := ann.Roles("default").Create(t.Context(), role("same", readPods), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	more := made.DeepCopy()
	more.Rules = append(more.Rules, readSecrets)
	for name, try := range map[string]func() error{
		"a role with more": func() error {
			_, err := ann.Roles("default").Create(t.Context(), role("more", readPods, readSecrets), metav1.CreateOptions{})
			return err
		},
		"a role gets more": func() error {
			_, err := ann.Roles("default").Update(t.Context(), more, metav1.UpdateOptions{})
			return err
		},
		"a role gets more by a patch": func() error {
			_, err := ann.Roles("default").Patch(t.Context(), "same", "application/merge-patch+json",
				[]byte(`{"rules":[{"verbs":["*"],"apiGroups":["*"],"resources":["*"]}]}`), metav1.PatchOptions{})
			return err
		},
		"a ClusterRole with more": func() error {
			_, err := ann.ClusterRoles().Create(t.Context(), &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "x"}, Rules: []rbacv1.PolicyRule{readSecrets}}, metav1.CreateOptions{})
			return err
		},
		"an aggregated ClusterRole": func() error {
			_, err := ann.ClusterRoles().Create(t.Context(), &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "x"},
				AggregationRule: &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{}}}}, metav1.CreateOptions{})
			return err
		},
		"the role of administrators": func() error { return bind("cluster-admin") },
		"a role with more, bound":    func() error { return bind("bindable") },
	} {
		if err := try(); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "attempting to grant RBAC permissions not currently held") && !strings.Contains(err.Error(), "cluster-admin privileges") {
			t.Errorf("%s: %v", name, err)
		}
	}
	more.Rules, more.Labels = made.Rules, map[string]string{"x": "y"}
	if _, err := ann.Roles("default").Update(t.Context(), more, metav1.UpdateOptions{}); err != nil {
		t.Errorf("a label: %v", err)
	}
	b.put(rbac.ClusterRoles, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "binder"}, Rules: []rbacv1.PolicyRule{
		{Verbs: []string{"bind"}, APIGroups: []string{rbacv1.GroupName}, Resources: []string{"clusterroles"}, ResourceNames: []string{"bindable"}},
	}})
	b.put(rbac.ClusterRoleBindings, &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "binder"},
		RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "binder"}, Subjects: []rbacv1.Subject{{Kind: "User", Name: "ann"}}})
	if err := bind("bindable"); err != nil {
		t.Errorf("with the verb bind: %v", err)
	}
}

func TestOpenIDDocuments(t *testing.T) {
	b := newBench(t)
	b.network()
	for _, path := range []string{discoveryPath, keySetPath} {
		if code, body := b.as("token-root", "GET", path); code != 200 || strings.Contains(body, `"d":`) {
			t.Errorf("%s: %d %s", path, code, body)
		}
		if code, body := b.as("token-ann", "GET", path); code != 403 { // for ServiceAccounts, and whom it is granted
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
}
