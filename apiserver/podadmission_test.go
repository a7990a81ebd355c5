// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func accountPod(name string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{
		InitContainers: []corev1.Container{{Name: "i", Image: "busybox"}}, Containers: []corev1.Container{{Name: "c", Image: "busybox"}},
	}}
}

func TestPodsGetWhatTheirServiceAccountBrings(t *testing.T) {
	b := newBench(t)
	root := clientOf(t, b.network(), "token-root", "").CoreV1()
	b.space("default")
	no, yes := ptr.To(false), ptr.To(true)
	for name, account := range map[string]*corev1.ServiceAccount{
		"default": {}, "silent": {AutomountServiceAccountToken: no}, "loud": {AutomountServiceAccountToken: yes},
		"puller": {ImagePullSecrets: []corev1.LocalObjectReference{{Name: "key"}}},
	} {
		account.Name, account.Namespace = name, "default"
		b.put("serviceaccounts", account)
	}
	for name, c := range map[string]struct {
		account string
		says    *bool
		always  bool
		want    bool
	}{
		"nobody-says": {"", nil, true, true}, "nobody-says-and-off": {"", nil, false, false},
		"pod-no": {"loud", no, true, false}, "pod-yes": {"silent", yes, false, true},
		"account-no": {"silent", nil, true, false}, "account-yes": {"loud", nil, false, true},
	} {
		b.server.cfg.MountTokens = c.always
		p := accountPod(name)
		p.Spec.ServiceAccountName, p.Spec.AutomountServiceAccountToken = c.account, c.says
		p, err := root.Pods("default").Create(t.Context(), p, metav1.CreateOptions{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		mounted := len(p.Spec.Volumes) == 1 && strings.HasPrefix(p.Spec.Volumes[0].Name, "kube-api-access-") && len(p.Spec.Volumes[0].Projected.Sources) == 3 &&
			len(p.Spec.Containers[0].VolumeMounts) == 1 && p.Spec.InitContainers[0].VolumeMounts[0].MountPath == tokenPath
		if mounted != c.want || !c.want && len(p.Spec.Volumes) > 0 {
			t.Errorf("%s: %+v", name, p.Spec)
		}
		if c.account == "" && p.Spec.ServiceAccountName != "default" {
			t.Errorf("%s: runs as %q", name, p.Spec.ServiceAccountName)
		}
	}
	p := accountPod("pulls")
	p.Spec.ServiceAccountName = "puller"
	if p, err := root.Pods("default").Create(t.Context(), p, metav1.CreateOptions{}); err != nil || len(p.Spec.ImagePullSecrets) != 1 || p.Spec.ImagePullSecrets[0].Name != "key" {
		t.Errorf("%v %v", p, err)
	}
	p = accountPod("lost")
	p.Spec.ServiceAccountName = "gone"
	_, err := root.Pods("default").Create(t.Context(), p, metav1.CreateOptions{})
	if want := `pods "lost" is forbidden: error looking up service account default/gone: serviceaccount "gone" not found`; !apierrors.IsForbidden(err) || err.Error() != want {
		t.Errorf("%v\nnot\n%s", err, want)
	}
}

func TestPodSecurityLevels(t *testing.T) {
	b := newBench(t)
	c := b.client("").CoreV1()
	warnings := func(method, url, body, media string) (int, string) {
		code, header, answer := b.do(method, url, body, "Content-Type", media)
		return code, answer + strings.Join(header.Values("Warning"), "\n")
	}
	pod := func(name, more string) string {
		return `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"` + name + `"},"spec":{` + more + `"containers":[{"name":"c","image":"busybox"}]}}`
	}
	space := func(name string, labels map[string]string) error {
		_, err := c.Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}, metav1.CreateOptions{})
		return err
	}
	const label = "pod-security.kubernetes.io/"
	for name, labels := range map[string]map[string]string{
		"free": nil, "base": {label + "enforce": "baseline", label + "warn": "restricted"}, "strict": {label + "enforce": "restricted"},
	} {
		if err := space(name, labels); err != nil {
			t.Fatal(err)
		}
	}
	if err := space("odd", map[string]string{label + "enforce": "lax"}); !apierrors.IsInvalid(err) {
		t.Errorf("a level that there is not: %v", err)
	}
	const host = `"hostNetwork":true,`
	for _, c := range []struct {
		namespace, more string
		code            int
		text            string
	}{
		{"free", host, 201, ""},
		{"base", "", 201, `would violate PodSecurity \"restricted:latest\": allowPrivilegeEscalation != false`},
		{"base", host, 403, `violates PodSecurity \"baseline:latest\": host namespaces (hostNetwork=true)`},
		{"strict", "", 403, `violates PodSecurity \"restricted:latest\"`},
	} {
		code, answer := warnings("POST", "/api/v1/namespaces/"+c.namespace+"/pods", pod("p", c.more), "application/json")
		if code != c.code || !strings.Contains(answer, c.text) {
			t.Errorf("%+v: %d %s", c, code, answer)
		}
	}
	patch := func(namespace, level string) (int, string) {
		return warnings("PATCH", "/api/v1/namespaces/"+namespace, `{"metadata":{"labels":{"`+label+`enforce":"`+level+`"}}}`, "application/merge-patch+json")
	}
	if code, answer := patch("free", "baseline"); code != 200 || !strings.Contains(answer, `existing pods in namespace \"free\" violate the new PodSecurity enforce level \"baseline:latest\"`) || !strings.Contains(answer, "p: host namespaces") {
		t.Errorf("a new level: %d %s", code, answer)
	}
	if code, answer := patch("free", "lax"); code != 422 {
		t.Errorf("a level that there is not: %d %s", code, answer)
	}
	// Its labels may change; another image is looked at.
	if code, answer := warnings("PATCH", "/api/v1/namespaces/free/pods/p", `{"metadata":{"labels":{"a":"b"}}}`, "application/merge-patch+json"); code != 200 {
		t.Errorf("a label: %d %s", code, answer)
	}
	if code, answer := warnings("PATCH", "/api/v1/namespaces/free/pods/p", `{"spec":{"containers":[{"name":"c","image":"other"}]}}`, "application/strategic-merge-patch+json"); code != 403 || !strings.Contains(answer, "violates PodSecurity") {
		t.Errorf("an image: %d %s", code, answer)
	}
}
