// SPDX-License-Identifier: Apache-2.0

package cgroups

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	corev1 "k8s.io/api/core/v1"
)

// CreatePod makes the Pod's cgroup with the values of r. It is idempotent: on a
// cgroup that is there it updates the values and lifts limits that r no longer
// sets. Values for missing controllers are passed over. On an error what was made
// stays; RemovePod removes it.
func (t *Tree) CreatePod(uid string, qos corev1.PodQOSClass, r *specs.LinuxResources) error {
	if err := checkUID(uid); err != nil {
		return err
	}
	dir := t.PodPath(uid, qos)
	values := Files(t.mode, r)
	for _, mount := range t.mounts() {
		at := filepath.Join(mount, dir)
		set := values
		switch err := os.Mkdir(at, 0o755); {
		case errors.Is(err, fs.ErrExist):
			set = append(unset(noLimits(t.mode), values), values...)
		case err != nil:
			return fmt.Errorf("pod %s: %w", uid, err)
		}
		if t.mode == V2 {
			delegate(at)
		}
		if err := t.write(mount, dir, set); err != nil {
			return fmt.Errorf("pod %s: %w", uid, err)
		}
	}
	return nil
}

// CreateChild makes a cgroup with the values of r below the Pod's, which exists, and
// returns its directories, one for each hierarchy that has a home. It is
// idempotent. RemovePod removes it.
func (t *Tree) CreateChild(uid string, qos corev1.PodQOSClass, name string, r *specs.LinuxResources) ([]string, error) {
	if err := errors.Join(checkUID(uid), checkUID(name)); err != nil {
		return nil, err
	}
	dir := t.ContainerPath(uid, qos, name)
	var dirs []string
	for _, mount := range t.mounts() {
		at := filepath.Join(mount, dir)
		if err := os.Mkdir(at, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("pod %s: %w", uid, err)
		}
		if err := t.write(mount, dir, Files(t.mode, r)); err != nil {
			return nil, fmt.Errorf("pod %s: %w", uid, err)
		}
		dirs = append(dirs, at)
	}
	return dirs, nil
}

// SetPod writes values of the Pod's cgroup, which is there, and leaves those that r
// does not set as they are.
func (t *Tree) SetPod(uid string, qos corev1.PodQOSClass, r *specs.LinuxResources) error {
	if err := checkUID(uid); err != nil {
		return err
	}
	values := Files(t.mode, r)
	for _, mount := range t.mounts() {
		if err := t.write(mount, t.PodPath(uid, qos), values); err != nil {
			return fmt.Errorf("pod %s: %w", uid, err)
		}
	}
	return nil
}

// mounts returns the different homes of the controllers, in a fixed order.
func (t *Tree) mounts() []string {
	all := []string{t.main}
	for _, mount := range t.home {
		if !slices.Contains(all, mount) {
			all = append(all, mount)
		}
	}
	slices.Sort(all)
	return all
}

// delegate hands all controllers of a v2 directory on to its children, in one write
// unless one of them is refused, which must not keep the others out.
func delegate(dir string) {
	have := readFields(filepath.Join(dir, "cgroup.controllers"))
	control := filepath.Join(dir, "cgroup.subtree_control")
	if len(have) == 0 || writeFile(control, "+"+strings.Join(have, " +")) == nil {
		return
	}
	for _, c := range have {
		_ = writeFile(control, "+"+c)
	}
}

// write sets those values whose controller lives in mount.
func (t *Tree) write(mount, dir string, values []Value) error {
	for _, v := range values {
		if t.home[v.Controller] != mount {
			continue
		}
		if err := writeFile(filepath.Join(mount, dir, v.File), v.Value); err != nil {
			return fmt.Errorf("setting %s to %s: %w", v.File, v.Value, err)
		}
	}
	return nil
}

// unset returns those of defaults whose file is not in values.
func unset(defaults, values []Value) []Value {
	var rest []Value
	for _, d := range defaults {
		if !slices.ContainsFunc(values, func(v Value) bool { return v.File == d.File }) {
			rest = append(rest, d)
		}
	}
	return rest
}

// UpdateQOS sets the CPU shares of the burstable parent to the sum of its Pods'
// effective requests, in thousandths of a CPU; call it when that sum changes. The
// besteffort parent always has the least. Source: the kubelet's QoS container
// manager.
func (t *Tree) UpdateQOS(burstableMilliCPU int64) error {
	return t.setShares(corev1.PodQOSBurstable, MilliCPUToShares(burstableMilliCPU))
}

// setQOSParents gives the besteffort parent its shares; the burstable parent's
// value is known only to UpdateQOS.
func (t *Tree) setQOSParents() error {
	return t.setShares(corev1.PodQOSBestEffort, minShares)
}

func (t *Tree) setShares(qos corev1.PodQOSClass, shares uint64) error {
	mount, ok := t.home["cpu"]
	if !ok {
		return nil
	}
	r := &specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: &shares}}
	if err := t.write(mount, t.qosPath(qos), Files(t.mode, r)); err != nil {
		return fmt.Errorf("cgroup %s: %w", t.qosPath(qos), err)
	}
	return nil
}

// Pods returns the UIDs of the Pods that have a cgroup, sorted, by looking in
// every hierarchy.
func (t *Tree) Pods() ([]string, error) {
	var uids []string
	for _, h := range t.hierarchies {
		for _, qos := range qosClasses {
			entries, err := os.ReadDir(filepath.Join(h.mount, t.qosPath(qos)))
			if err != nil && !isNotExist(err) {
				return nil, fmt.Errorf("looking for pod cgroups: %w", err)
			}
			for _, e := range entries {
				if uid, ok := strings.CutPrefix(e.Name(), podPrefix); ok && e.IsDir() && uid != "" {
					uids = append(uids, uid)
				}
			}
		}
	}
	slices.Sort(uids)
	return slices.Compact(uids), nil
}

// podDirs returns the Pod's directories in all hierarchies, whatever its class.
func (t *Tree) podDirs(uid string) []string {
	var dirs []string
	for _, h := range t.hierarchies {
		for _, qos := range qosClasses {
			dir := filepath.Join(h.mount, t.PodPath(uid, qos))
			if _, err := os.Lstat(dir); err == nil {
				dirs = append(dirs, dir)
			}
		}
	}
	return dirs
}

// shown are the files that ReadPodValues reads, for v1 and v2.
var shown = map[bool][]string{
	false: {"cpu.shares", "cpu.cfs_quota_us", "cpu.cfs_period_us", "memory.limit_in_bytes", "memory.usage_in_bytes", "pids.max", "pids.current"},
	true:  {"cpu.weight", "cpu.max", "memory.max", "memory.current", "pids.max", "pids.current"},
}

// ReadPodValues returns what the kernel says of the Pod's cgroup, by file name: the
// v1 names under v1 and hybrid, the v2 names under v2. Files that are not there are
// left out. The error wraps fs.ErrNotExist when the Pod has no cgroup.
func (t *Tree) ReadPodValues(uid string) (map[string]string, error) {
	if err := checkUID(uid); err != nil {
		return nil, err
	}
	values := map[string]string{}
	dirs := t.podDirs(uid)
	if len(dirs) == 0 {
		return nil, fmt.Errorf("pod %s has no cgroup: %w", uid, fs.ErrNotExist)
	}
	files := shown[t.mode == V2]
	for _, dir := range dirs {
		huge, _ := filepath.Glob(filepath.Join(dir, "hugetlb.*.limit_in_bytes"))
		if t.mode == V2 {
			huge, _ = filepath.Glob(filepath.Join(dir, "hugetlb.*.max"))
		}
		for _, file := range files {
			huge = append(huge, filepath.Join(dir, file))
		}
		for _, file := range huge {
			if data, err := os.ReadFile(file); err == nil {
				values[filepath.Base(file)] = strings.TrimSpace(string(data))
			}
		}
	}
	return values, nil
}
