// SPDX-License-Identifier: Apache-2.0

package podtest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/minikubelet/minikubelet/agent"
	"github.com/minikubelet/minikubelet/runtime/image"
)

// Options say what node to open. The zero value is one with its own containerd and
// runc, no images and no messages.
type Options struct {
	// Configure changes the configuration before the node opens: another containerd
	// (ContainerdAddress) or OCI runtime (Runc), reserved resources, and so on. It must
	// leave the three directories as they are.
	Configure func(*agent.Config)
	// Images are files of image archives (OCI or docker) that are imported first.
	Images []string
	// Hooks hear what happens, at the moment at which it does.
	Hooks agent.Hooks
	// Log takes the node's messages; nil drops them.
	Log *slog.Logger
}

// Node is a node that runs. Its methods may be called concurrently.
type Node struct {
	agent *agent.Agent
	dir   string
	stop  context.CancelFunc
	done  chan error

	mu     sync.Mutex
	events map[types.UID][]corev1.Event // by Pod
}

// closeBound is how long a node's Pods may take to vanish after SIGKILL.
const closeBound = 2 * time.Minute

// Open starts a node. What it made it takes back when it fails.
func Open(ctx context.Context, o Options) (_ *Node, err error) {
	dir, err := os.MkdirTemp("", "mk") // short: the lengths of sockets' paths are limited
	if err != nil {
		return nil, err
	}
	n := &Node{dir: dir, done: make(chan error, 1), events: make(map[types.UID][]corev1.Event)}
	defer func() {
		if err == nil {
			return
		}
		if n.agent != nil {
			err = errors.Join(err, n.agent.Leave(context.WithoutCancel(ctx)), n.agent.Close())
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	cfg := agent.DefaultConfig()
	cfg.DataDir, cfg.RunDir, cfg.LogDir = n.Path("data"), n.Path("run"), n.Path("log")
	cfg.NodeName = "podtest"
	if o.Configure != nil {
		o.Configure(&cfg)
	}
	log := o.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if n.agent, err = agent.Open(ctx, cfg, n.hooks(o.Hooks), log); err != nil {
		return nil, err
	}
	for _, file := range o.Images {
		if _, err := n.agent.Images().ImportFile(ctx, file, image.ImportOptions{}); err != nil {
			return nil, fmt.Errorf("import %s: %w", file, err)
		}
	}
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	n.stop = stop
	go func() { n.done <- n.agent.Run(serving) }()
	return n, nil
}

// hooks are the caller's, and the node's own.
func (n *Node) hooks(h agent.Hooks) agent.Hooks {
	told := h.OnEvent
	h.OnEvent = func(pod *corev1.Pod, container string, e *corev1.Event) {
		n.mu.Lock()
		n.events[pod.UID] = append(n.events[pod.UID], *e)
		n.mu.Unlock()
		if told != nil {
			told(pod, container, e)
		}
	}
	return h
}

// Agent is what the node consists of: its store, images, containers and containerd.
func (n *Node) Agent() *agent.Agent { return n.agent }

// Path names a file or directory below the node's own, which Close removes.
func (n *Node) Path(parts ...string) string {
	return filepath.Join(append([]string{n.dir}, parts...)...)
}

// Close kills the node's Pods, ends the node and removes all that it has on the
// machine. It is called once, when no other method runs any more.
func (n *Node) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeBound)
	defer cancel()
	pods, err := n.pods()
	for _, pod := range pods {
		err = errors.Join(err, n.Delete(ctx, pod, ptr.To[int64](0)))
	}
	n.stop()
	err = errors.Join(err, <-n.done, n.agent.Leave(ctx), n.agent.Close())
	if err != nil {
		return fmt.Errorf("close the node in %s, which is kept for a look: %w", n.dir, err)
	}
	return os.RemoveAll(n.dir)
}
