// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"
)

// apiServer is a server of the Kubernetes API as its clients see it: over TLS, in
// protobuf, with no bound of the client's own.
type apiServer struct {
	config *rest.Config
	client kubernetes.Interface
	memory func() float64 // resident, in MB (10⁶ bytes)
	rounds int
}

func newAPIServer(config *rest.Config, memory func() float64, rounds int) (*apiServer, error) {
	config.ContentType, config.QPS = runtime.ContentTypeProtobuf, -1
	client, err := kubernetes.NewForConfig(config)
	return &apiServer{config: config, client: client, memory: memory, rounds: rounds}, err
}

// connect makes the client of a daemon's administrator.
func (d *daemon) connect() (*apiServer, error) {
	config, err := clientcmd.BuildConfigFromFlags("", d.kubeconfig())
	if err != nil {
		return nil, err
	}
	return newAPIServer(config, func() float64 { return d.memory("VmRSS") }, d.b.rounds)
}

func (d *daemon) kubeconfig() string { return d.b.path("node", "data", "kubeconfig") }

// apiPart is one part of the API's measurements: it returns its rows, and leaves
// nothing in the server.
type apiPart func(context.Context, *apiServer) ([]row, error)

// api measures an agent's API and, when it is installed, kube-apiserver with etcd.
func (b *bench) api(part apiPart) func(context.Context) error {
	return b.onDaemon(func(ctx context.Context, d *daemon) error {
		s, err := d.connect()
		if err != nil {
			return err
		}
		rows, err := part(ctx, s)
		if err != nil {
			return err
		}
		beside, err := b.kubeAPIServer(ctx, part)
		if err != nil {
			return fmt.Errorf("kube-apiserver: %w", err)
		}
		for i, r := range rows {
			if len(beside) == len(rows) {
				r.Beside = beside[i].Ours
			}
			b.add(r)
		}
		return nil
	})
}

// sample is how often a request is repeated, at most.
const sample = 200

// timed is the median of how long calls take, and the least, in ms.
func timed(ctx context.Context, n int, call func(i int) error) (mid, best float64, err error) {
	var took []float64
	for i := range n + n/10 + 1 {
		began := time.Now()
		if err := errors.Join(ctx.Err(), call(i)); err != nil {
			return 0, 0, err
		}
		if i > n/10 { // the others warmed up
			took = append(took, ms(time.Since(began)))
		}
	}
	return median(took), slices.Min(took), nil
}

const (
	listed = 200 // Pods in the lists
	// statusPatch changes what others than the node may say of a Pod: the rest of the
	// status is the node's, and to change it does nothing.
	statusPatch = `{"status":{"conditions":[{"type":"example.com/bench","status":"True","message":"m%d"}]}}`
)

// requests measures reading and writing Pods that nobody runs.
func requests(ctx context.Context, s *apiServer) ([]row, error) {
	pods := s.client.CoreV1().Pods("default")
	defer s.removePods()
	for i := range listed {
		if err := s.createPod(ctx, fmt.Sprint("p", i)); err != nil {
			return nil, err
		}
	}
	list := func(accept string) func(int) error {
		return func(int) error {
			body, err := s.client.CoreV1().RESTClient().Get().Namespace("default").Resource("pods").SetHeader("Accept", accept).Stream(ctx)
			if err != nil {
				return err
			}
			defer body.Close()
			_, err = io.Copy(io.Discard, body)
			return err
		}
	}
	patch := func(how types.PatchType, body string, o metav1.PatchOptions, sub ...string) func(int) error {
		return func(i int) error {
			_, err := pods.Patch(ctx, "p2", how, fmt.Appendf(nil, body, i), o, sub...)
			return err
		}
	}
	var rows []row
	for _, c := range []struct {
		what, goal string
		n          int
		call       func(int) error
	}{
		{"GET a Pod", "≤ 0.4", sample, func(int) error { _, err := pods.Get(ctx, "p1", metav1.GetOptions{}); return err }},
		{fmt.Sprintf("LIST %d Pods", listed), "≤ 9", sample, func(int) error { _, err := pods.List(ctx, metav1.ListOptions{}); return err }},
		{"the same, not decoded by the client", "", sample, list(runtime.ContentTypeProtobuf)},
		{"the same as JSON", "", sample / 4, list(runtime.ContentTypeJSON)},
		{"the same as the table of kubectl get", "", sample / 4, list("application/json;as=Table;v=v1;g=meta.k8s.io")},
		{"PATCH a Pod's status", "≤ 3", sample, patch(types.StrategicMergePatchType, statusPatch, metav1.PatchOptions{}, "status")},
		{"server-side apply of a Pod's label", "", sample, patch(types.ApplyPatchType,
			`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p2","labels":{"l":"m%d"}}}`, metav1.PatchOptions{FieldManager: "bench", Force: ptr.To(true)})},
	} {
		mid, best, err := timed(ctx, c.n, c.call)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.what, err)
		}
		rows = append(rows, row{What: c.what, Unit: "ms", Ours: mid, Best: best, Goal: c.goal})
	}
	return rows, nil
}

// createPod makes a Pod with all that a spec usually has, but that waits for a gate:
// nobody runs it. With the account of its managed fields it is of some 4 kB.
func (s *apiServer) createPod(ctx context.Context, name string) error {
	data, err := os.ReadFile("apiserver/testdata/running-pod.yaml")
	if err != nil {
		return fmt.Errorf("%w; the program belongs into the source directory", err)
	}
	pod := new(corev1.Pod)
	if err := yaml.Unmarshal(data, pod); err != nil {
		return err
	}
	pod.Name, pod.UID, pod.Spec.NodeName, pod.Spec.Priority = name, "", "", nil
	pod.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "example.com/bench"}}
	_, err = s.client.CoreV1().Pods("default").Create(ctx, pod, metav1.CreateOptions{})
	return err
}

// removePods removes all of them, also after an interrupt.
func (s *apiServer) removePods() {
	_ = s.client.CoreV1().Pods("default").DeleteCollection(context.Background(),
		metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}, metav1.ListOptions{}) // the server is thrown away as well
}
