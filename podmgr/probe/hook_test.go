// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"context"
	"errors"
	"net/http/httptest"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func TestHooks(t *testing.T) {
	port := intstr.FromInt(web(t, httptest.NewServer))
	exec := func(code int, err error) Target {
		return Target{Exec: func(context.Context, []string, int) (int, []byte, error) { return code, nil, err }}
	}
	run := &corev1.ExecAction{Command: []string{"x"}}
	for _, tt := range []struct {
		name    string
		handler corev1.LifecycleHandler
		target  Target
		ok      bool
		warned  bool
	}{
		{"command", corev1.LifecycleHandler{Exec: run}, exec(0, nil), true, false},
		{"command that fails", corev1.LifecycleHandler{Exec: run}, exec(1, nil), false, false},
		{"command that is not there", corev1.LifecycleHandler{Exec: run}, exec(0, errors.New("no such file")), false, false},
		{"http", corev1.LifecycleHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/200", Port: port}}, Target{}, true, false},
		{"any answer will do", corev1.LifecycleHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/500", Port: port}}, Target{}, true, false},
		{"https to a server without", corev1.LifecycleHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/200", Scheme: "HTTPS", Port: port}}, Target{}, true, true},
		{"nobody listens", corev1.LifecycleHandler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromInt(unused(t))}}, Target{}, false, false},
		{"sleep", corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 0}}, Target{}, true, false},
		{"tcp", corev1.LifecycleHandler{TCPSocket: &corev1.TCPSocketAction{Port: port}}, Target{}, false, false},
		{"none", corev1.LifecycleHandler{}, Target{}, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.target.IP = "127.0.0.1"
			warned := false
			err := NewHooks().Run(t.Context(), &tt.handler, tt.target, func(string) { warned = true })
			if (err == nil) != tt.ok || warned != tt.warned {
				t.Errorf("%v, warned %v", err, warned)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if NewHooks().Run(ctx, &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 1000}}, Target{}, nil) == nil {
		t.Error("a sleep that was given up")
	}
}
