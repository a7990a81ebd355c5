// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func TestHooks(t *testing.T) {
	port := intstr.FromInt(web(t, httptest.NewServer))
	exec := func(code int, err error) Target {
		return Target{Exec: func(context.Context, []string, int) (Execution, error) { return Execution{ExitCode: code}, err }}
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

func TestFailureMessages(t *testing.T) {
	port := intstr.FromInt(unused(t))
	where := fmt.Sprintf("127.0.0.1:%d", port.IntValue())
	for _, tt := range []struct {
		handler corev1.LifecycleHandler
		run     ExecFunc
		want    string
	}{
		{corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"sh", "-c", "x"}}}, says(3, "out", "err"),
			`Exec lifecycle hook ([sh -c x]) for Container "c" in Pod "p_ns(uid)" failed - error: command 'sh -c x' exited with 3: err, message: "outerr"`},
		{corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"x"}}}, func(context.Context, []string, int) (Execution, error) {
			return Execution{}, errors.New("no such file")
		},
			`Exec lifecycle hook ([x]) for Container "c" in Pod "p_ns(uid)" failed - error: no such file, message: ""`},
		{corev1.LifecycleHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/x", Port: port}}, nil,
			`HTTP lifecycle hook (/x) for Container "c" in Pod "p_ns(uid)" failed - error: Get "http://` + where + `/x": dial tcp ` + where + `: connect: connection refused`},
		{corev1.LifecycleHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt(1)}}, nil,
			`Cannot run handler: invalid handler: &LifecycleHandler{Exec:nil,HTTPGet:nil,TCPSocket:&TCPSocketAction{Port:{0 1 },Host:,},Sleep:nil,}`},
	} {
		err := NewHooks().Run(t.Context(), &tt.handler, Target{IP: "127.0.0.1", Exec: tt.run}, nil)
		if got := FailureMessage(&tt.handler, "c", "p_ns(uid)", err); got != tt.want {
			t.Errorf("%s\nwant %s", got, tt.want)
		}
	}
	sleep := &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 1000}}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	want := `Sleep lifecycle hook (1000) for Container "c" in Pod "p_ns(uid)" failed - error: container terminated before sleep hook finished`
	if got := FailureMessage(sleep, "c", "p_ns(uid)", NewHooks().Run(ctx, sleep, Target{}, nil)); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}
