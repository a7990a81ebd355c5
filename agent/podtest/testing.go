// SPDX-License-Identifier: Apache-2.0

package podtest

import (
	"context"
	"os"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// patience bounds what a test waits for, on a slow machine too. It is no measure of
// speed.
const patience = 3 * time.Minute

// TestNode is a Node whose methods end the test when they fail, and that ends with it.
type TestNode struct {
	*Node
	t testing.TB
}

// New opens a node for a test. At the end of the test the node is closed; that
// something of it is left on the machine fails the test.
func New(t testing.TB, o Options) *TestNode {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("podtest makes containers, which needs root")
	}
	node, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := node.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return &TestNode{node, t}
}

func must[V any](n *TestNode, do func(context.Context) (V, error)) V {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), patience)
	defer cancel()
	v, err := do(ctx)
	if err != nil {
		n.t.Fatal(err)
	}
	return v
}

// Apply is Node.Apply's.
func (n *TestNode) Apply(manifest string) []*corev1.Pod {
	n.t.Helper()
	return must(n, func(context.Context) ([]*corev1.Pod, error) { return n.Node.Apply(manifest) })
}

// Create is Node.Create's.
func (n *TestNode) Create(pod *corev1.Pod) *corev1.Pod {
	n.t.Helper()
	return must(n, func(context.Context) (*corev1.Pod, error) { return n.Node.Create(pod) })
}

// Await is Node.Await's, with a bound of some minutes.
func (n *TestNode) Await(pod *corev1.Pod, want Condition) *corev1.Pod {
	n.t.Helper()
	return must(n, func(ctx context.Context) (*corev1.Pod, error) { return n.Node.Await(ctx, pod, want) })
}

// Log is Node.Log's.
func (n *TestNode) Log(pod *corev1.Pod, container string) string {
	n.t.Helper()
	return must(n, func(ctx context.Context) (string, error) { return n.Node.Log(ctx, pod, container) })
}

// Exec is Node.Exec's.
func (n *TestNode) Exec(pod *corev1.Pod, container string, command ...string) Output {
	n.t.Helper()
	return must(n, func(ctx context.Context) (Output, error) { return n.Node.Exec(ctx, pod, container, command...) })
}

// Delete is Node.Delete's.
func (n *TestNode) Delete(pod *corev1.Pod, seconds *int64) {
	n.t.Helper()
	must(n, func(ctx context.Context) (any, error) { return nil, n.Node.Delete(ctx, pod, seconds) })
}
