// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/minikubelet/minikubelet/apiserver/streaming"
)

// running is a node on which one container runs.
type running struct {
	Streams
	name string
}

func (r running) Running(_ *corev1.Pod, container string) (string, bool) {
	return "id-" + container, container == r.name
}

func TestWhoMayStream(t *testing.T) {
	b := newBench(t)
	b.users("reads,reader,1\nruns,runner,2\n")
	b.server.cfg.Streams = running{name: "other"}
	b.put("pods", &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"},
		Spec: corev1.PodSpec{
			InitContainers: []corev1.Container{{Name: "first"}}, Containers: []corev1.Container{{Name: "main"}, {Name: "other"}},
		},
	})
	for user, verb := range map[string]string{"reader": "get", "runner": "create"} {
		for _, sub := range []string{"exec", "attach", "portforward"} {
			name := user + "-" + sub
			b.put("roles", &rbacv1.Role{
				ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name)},
				Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods/" + sub}, Verbs: []string{"get", verb}}},
			})
			b.put("rolebindings", &rbacv1.RoleBinding{
				ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name)},
				RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
				Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: user}},
			})
		}
	}
	upgrade := []string{"Connection", "Upgrade", "Upgrade", "websocket"}
	for _, tt := range []struct {
		token, path string
		upgrade     bool
		code        int
		want        string
	}{
		{"reads", "exec?container=main&stdout=true&command=x", true, http.StatusForbidden, `cannot create resource \"pods/exec\"`},
		{"reads", "attach?container=main&stdout=true", true, http.StatusForbidden, `cannot create resource \"pods/attach\"`},
		{"reads", "portforward", true, http.StatusForbidden, `cannot create resource \"pods/portforward\"`},
		{"runs", "exec?container=main&stdout=true&command=x", false, http.StatusBadRequest, "Upgrade request required"},
		{"runs", "portforward", false, http.StatusBadRequest, "Upgrade request required"},
		{"runs", "exec?stdout=true&command=x", true, http.StatusBadRequest, "a container name must be specified for pod p, choose one of: [first main other]"},
		{"runs", "exec?container=none&stdout=true&command=x", true, http.StatusBadRequest, "container none is not valid for pod p"},
		{"runs", "exec?container=main&command=x", true, http.StatusBadRequest, "you must specify at least 1 of stdin, stdout, stderr"},
		{"runs", "exec?container=main&stdout=true&command=x", true, http.StatusInternalServerError, `container not found ("main")`},
		{"runs", "attach?container=main&stdout=true", true, http.StatusInternalServerError, `container main not found in pod p_default`},
		{"runs", "exec?container=other&stdout=true", true, http.StatusBadRequest, "you must specify the command to run"},
	} {
		var header []string
		if tt.upgrade {
			header = upgrade
		}
		code, body := b.as(tt.token, http.MethodGet, "/api/v1/namespaces/default/pods/p/"+tt.path, header...)
		if code != tt.code || !strings.Contains(body, tt.want) {
			t.Errorf("%s %s: %d %s; want %d %s", tt.token, tt.path, code, body, tt.code, tt.want)
		}
	}
	if n := b.server.sessions.taken; n != 0 {
		t.Errorf("%d places are taken", n)
	}
}

func TestWantedStreams(t *testing.T) {
	for query, want := range map[string]streaming.Wanted{
		"stdin=true&stdout=1&stderr=0&tty=": {Stdin: true, Stdout: true, TTY: true},
		"stdin=false&stderr=yes":            {Stderr: true},
		"stdin=False&stdout=true":           {Stdout: true},
	} {
		q, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := wantedStreams(q); err != nil || got != want {
			t.Errorf("%s: %+v, %v", query, got, err)
		}
	}
}
