// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sync/errgroup"
)

// floor runs a workload's containers with the bare runtime on prepared bundles:
// init containers in sequence, app containers in parallel; no network, no pause
// container and no image work.
type floor struct {
	b      *bench
	runc   string
	root   string // runc's state
	rootfs string
}

func (b *bench) newFloor() (*floor, error) {
	f := &floor{b: b, runc: filepath.Join(b.bin, "runc"), root: filepath.Join(b.tmpfs, "floor-state"), rootfs: b.path("floor-rootfs")}
	if err := os.MkdirAll(filepath.Join(f.rootfs, "bin"), 0o755); err != nil {
		return nil, err
	}
	data, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return nil, fmt.Errorf("%w; install the Debian package busybox-static", err)
	}
	if err := os.WriteFile(filepath.Join(f.rootfs, "bin/busybox"), data, 0o755); err != nil {
		return nil, err
	}
	for _, applet := range []string{"true", "sleep", "sh"} {
		if err := os.Symlink("busybox", filepath.Join(f.rootfs, "bin", applet)); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	return f, nil
}

// bundle prepares one container and returns its ID.
func (f *floor) bundle(ctx context.Context, c workContainer) (string, error) {
	id := "mkfloor" + strconv.Itoa(os.Getpid()) + "-" + strconv.Itoa(int(f.b.serial.Add(1)))
	dir := filepath.Join(f.b.tmpfs, "floor", id)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	if out, err := exec.CommandContext(ctx, f.runc, "spec", "--bundle", dir).CombinedOutput(); err != nil {
		return "", fmt.Errorf("runc spec: %w: %s", err, out)
	}
	path := filepath.Join(dir, "config.json")
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	var spec specs.Spec
	if err := json.Unmarshal(data, &spec); err != nil {
		return "", err
	}
	spec.Process.Args, spec.Process.Terminal = c.command, false
	spec.Root = &specs.Root{Path: f.rootfs, Readonly: true}
	spec.Process.Rlimits = nil
	if c.limits {
		shares, quota, period, memory := uint64(51), int64(20000), uint64(100000), int64(64<<20)
		spec.Linux.Resources.CPU = &specs.LinuxCPU{Shares: &shares, Quota: &quota, Period: &period}
		spec.Linux.Resources.Memory = &specs.LinuxMemory{Limit: &memory}
	}
	if data, err = json.Marshal(spec); err != nil {
		return "", err
	}
	return id, os.WriteFile(path, data, 0o644)
}

// measure runs a workload once and removes it.
func (f *floor) measure(ctx context.Context, w workload) (took time.Duration, err error) {
	var inits, apps []string
	for _, c := range w.inits {
		id, err := f.bundle(ctx, c)
		if err != nil {
			return 0, err
		}
		inits = append(inits, id)
	}
	for _, c := range w.apps {
		id, err := f.bundle(ctx, c)
		if err != nil {
			return 0, err
		}
		apps = append(apps, id)
	}
	defer func() {
		for _, id := range apps {
			_ = exec.Command(f.runc, "--root", f.root, "delete", "--force", id).Run() // one that never started
			_ = os.RemoveAll(filepath.Join(f.b.tmpfs, "floor", id))
		}
	}()
	began := time.Now()
	for _, id := range inits {
		if err := f.runContainer(ctx, id, false); err != nil {
			return 0, err
		}
	}
	g, gctx := errgroup.WithContext(ctx)
	for _, id := range apps {
		g.Go(func() error { return f.runContainer(gctx, id, true) })
	}
	err = g.Wait()
	return time.Since(began), err
}

func (f *floor) runContainer(ctx context.Context, id string, detach bool) error {
	args := []string{"--root", f.root, "run", "--bundle", filepath.Join(f.b.tmpfs, "floor", id)}
	if detach {
		args = append(args, "--detach")
	}
	cmd := exec.CommandContext(ctx, f.runc, append(args, id)...)
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = null, io.Writer(null), null
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("runc run: %w", err)
	}
	return nil
}
