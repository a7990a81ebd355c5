// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// podmanConf lowers limits that podman would raise, which not every machine allows.
const podmanConf = `[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
`

// podman is an installed podman with storage of its own and our runc.
type podman struct {
	b    *bench
	args []string
}

// podman measures starts beside `podman kube play`, in turn, when podman is installed.
// Its Pods have no network, for which it would need plugins and leave a bridge behind.
func (b *bench) podman(ctx context.Context) (err error) {
	if _, err := exec.LookPath("podman"); err != nil {
		fmt.Fprintln(os.Stderr, "  podman is not on PATH: nothing beside it is measured")
		return nil
	}
	m := &podman{b: b, args: []string{
		"--root", b.path("podman"), "--runroot", filepath.Join(b.tmpfs, "podman"),
		"--cgroup-manager", "cgroupfs", "--events-backend", "none", "--runtime", filepath.Join(b.bin, "runc"),
	}}
	if err := os.WriteFile(b.path("containers.conf"), []byte(podmanConf), 0o600); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.clear()) }()
	if err := m.run(ctx, "load", "-q", "-i", b.path("busybox.tar")); err != nil {
		return err
	}
	p, err := b.openAgent(ctx, "podman")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close(ctx)) }()
	for _, w := range works() {
		w.more = killed
		var theirs, ours, ratios []float64
		for round := range b.rounds + 1 {
			beside, err := m.measure(ctx, w, round)
			if err != nil {
				return err
			}
			took, _, _, err := p.measure(ctx, w)
			if err != nil {
				return err
			}
			if round > 0 { // the first is for warming up
				theirs, ours, ratios = append(theirs, ms(beside)), append(ours, ms(took)), append(ratios, ms(took)/ms(beside))
			}
		}
		b.add(row{What: w.name + " beside podman kube play, without a network there", Unit: "ms", Beside: median(theirs), Ours: median(ours), Ratio: median(ratios)})
	}
	return nil
}

// measure starts a workload once: podman ends when the last container runs.
func (m *podman) measure(ctx context.Context, w workload, serial int) (time.Duration, error) {
	w.more = func(pod *corev1.Pod) { // podman knows no stop signals of Pods
		pod.APIVersion, pod.Kind = "v1", "Pod"
	}
	manifest, err := yaml.Marshal(w.pod(serial))
	if err != nil {
		return 0, err
	}
	file := m.b.path("podman.yaml")
	if err := os.WriteFile(file, manifest, 0o600); err != nil {
		return 0, err
	}
	began := time.Now()
	if err := m.run(ctx, "kube", "play", "--network", "none", file); err != nil {
		return 0, err
	}
	took := time.Since(began)
	return took, m.run(ctx, "pod", "rm", "--force", "--all", "--time", "0")
}

func (m *podman) run(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "podman", append(m.args[:len(m.args):len(m.args)], args...)...)
	cmd.Env = append(os.Environ(), "CONTAINERS_CONF="+m.b.path("containers.conf"))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("podman %s: %w: %s", args[0], err, bytes.TrimSpace(out))
	}
	return nil
}

// clear removes all that podman has in its own storage, and nothing of the machine's
// podman.
func (m *podman) clear() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := errors.Join(m.run(ctx, "pod", "rm", "--force", "--all", "--time", "0"), m.run(ctx, "rmi", "--force", "--all"))
	for range 50 { // its monitors end a moment after their containers
		if !cgroupsLeft() {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	return err
}

// cgroupsLeft removes the empty cgroups that podman leaves, and tells whether some have
// processes, which may be of the machine's own Pods.
func cgroupsLeft() (left bool) {
	for _, root := range []string{"/sys/fs/cgroup/libpod_parent", "/sys/fs/cgroup/*/libpod_parent"} {
		for _, pattern := range []string{root + "/*", root} {
			paths, _ := filepath.Glob(pattern)
			for _, path := range paths {
				if info, err := os.Stat(path); err == nil && info.IsDir() {
					left = unix.Rmdir(path) != nil || left
				}
			}
		}
	}
	return left
}
