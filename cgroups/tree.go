// SPDX-License-Identifier: Apache-2.0

package cgroups

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Config says where a Tree lives.
type Config struct {
	// Root is the absolute path of the tree below each cgroup mount, for example
	// "/minikubelet". Two agents on one machine use different roots.
	Root string
}

// Tree is the directories of one agent's Pods in every cgroup hierarchy. Its
// methods may be called at the same time, except that calls for the same Pod must
// follow one another.
type Tree struct {
	root        string
	mode        Mode
	hierarchies []hierarchy
	home        map[string]string // controller that we write: its mount
	main        string            // the mount in which Pods are looked for
}

// Open finds the machine's hierarchies and makes the root and the two QoS parents
// in them. It is idempotent. A controller that the machine lacks, or does not let
// us use, is left out and shows up in Missing; the tree works without it. The
// error tells of a machine on which no Pod's processes could be kept together.
func Open(cfg Config) (*Tree, error) {
	if !path.IsAbs(cfg.Root) || path.Clean(cfg.Root) != cfg.Root || cfg.Root == "/" {
		return nil, fmt.Errorf("cgroup root %q: must be a clean absolute path below /", cfg.Root)
	}
	found, err := look()
	if err != nil {
		return nil, fmt.Errorf("cgroups: %w", err)
	}
	t := &Tree{root: cfg.Root, mode: modeOf(found), hierarchies: found, home: map[string]string{}}
	for _, h := range found {
		if h.v2 && t.mode != V2 {
			continue // nothing of ours is set in the idle hierarchy of a hybrid machine
		}
		if err := t.prepare(h); err != nil {
			return nil, fmt.Errorf("cgroup root %s: %w", t.root, err)
		}
	}
	if t.main == "" {
		return nil, fmt.Errorf("cgroup root %s: no hierarchy with the controller memory, pids or cpu can be written: "+
			"run as root with /sys/fs/cgroup mounted read-write", t.root)
	}
	return t, t.setQOSParents()
}

// prepare makes root and QoS parents in one hierarchy and notes what it is home of.
func (t *Tree) prepare(h hierarchy) error {
	usable := []string{}
	for _, c := range usedControllers {
		if slices.Contains(h.controllers, c) {
			usable = append(usable, c)
		}
	}
	if len(usable) == 0 && !h.v2 {
		return nil
	}
	for _, dir := range []string{t.root, t.qosPath(corev1.PodQOSBurstable), t.qosPath(corev1.PodQOSBestEffort)} {
		if err := os.MkdirAll(filepath.Join(h.mount, dir), 0o755); err != nil {
			if h.v2 {
				return err
			}
			return nil // this controller is missing, the others may do
		}
		if h.v2 {
			usable = enableControllers(h.mount, dir)
		}
	}
	for _, c := range usable {
		t.home[c] = h.mount
	}
	if t.main == "" && (h.v2 || slices.ContainsFunc(usable, func(c string) bool { return c != "hugetlb" })) {
		t.main = h.mount
	}
	return nil
}

// enableControllers turns on, from the mount down to and including dir, every
// controller that is available, and returns those that children of dir will have.
func enableControllers(mount, dir string) []string {
	at := mount
	steps := strings.Split(strings.Trim(dir, "/"), "/")
	for i := 0; ; i++ {
		delegate(at)
		if i == len(steps) {
			break
		}
		at = filepath.Join(at, steps[i])
	}
	return readFields(filepath.Join(at, "cgroup.subtree_control"))
}

// Mode is how the machine mounts its control groups.
func (t *Tree) Mode() Mode { return t.mode }

// Root is the path below each mount that the tree was opened with.
func (t *Tree) Root() string { return t.root }

// Controllers returns, sorted, the controllers through which the tree can limit Pods.
func (t *Tree) Controllers() []string {
	var have []string
	for c := range t.home {
		if slices.Contains(usedControllers, c) {
			have = append(have, c)
		}
	}
	slices.Sort(have)
	return have
}

// Missing returns those of cpu, memory, pids and hugetlb that are not to be had,
// each with what the user loses.
func (t *Tree) Missing() map[string]string {
	return missing(t.home)
}

// missing has those of usedControllers that have no home, with the consequence.
func missing(home map[string]string) map[string]string {
	consequence := map[string]string{
		"cpu":     "CPU requests and limits have no effect",
		"memory":  "memory limits have no effect and OOM kills are not told apart",
		"pids":    "the number of a Pod's processes is not limited",
		"hugetlb": "huge page limits have no effect",
	}
	for c := range home {
		delete(consequence, c)
	}
	return consequence
}

// Options returns the Options that fit this machine, for PodResources and
// ContainerResources.
func (t *Tree) Options() Options {
	opts := Options{Mode: t.mode}
	if _, ok := t.home["hugetlb"]; ok {
		opts.HugePageSizes = hugePageSizes()
	}
	if mount, ok := t.home["memory"]; ok {
		file := "memory.memsw.limit_in_bytes"
		if t.mode == V2 {
			file = "memory.swap.max"
		}
		_, err := os.Stat(filepath.Join(mount, t.root, file))
		opts.SwapControl = err == nil
	}
	return opts
}

// qosPath is the directory, below a mount, that holds the Pods of one class.
func (t *Tree) qosPath(qos corev1.PodQOSClass) string { return qosPath(t.root, qos) }

func qosPath(root string, qos corev1.PodQOSClass) string {
	switch qos {
	case corev1.PodQOSGuaranteed:
		return root
	case corev1.PodQOSBestEffort:
		return path.Join(root, "besteffort")
	}
	return path.Join(root, "burstable")
}

// qosClasses in the order in which Pods are looked for.
var qosClasses = [...]corev1.PodQOSClass{corev1.PodQOSGuaranteed, corev1.PodQOSBurstable, corev1.PodQOSBestEffort}

const podPrefix = "pod"

// PodPath is the Pod's directory below each mount.
func (t *Tree) PodPath(uid string, qos corev1.PodQOSClass) string { return PodPath(t.root, uid, qos) }

// PodPath is the path that a Pod's directory has in a tree with this root.
func PodPath(root, uid string, qos corev1.PodQOSClass) string {
	return path.Join(qosPath(root, qos), podPrefix+uid)
}

// ContainerPath is the container's directory below each mount, as linux.cgroupsPath
// of the OCI spec wants it. The OCI runtime makes it.
func (t *Tree) ContainerPath(uid string, qos corev1.PodQOSClass, containerID string) string {
	return path.Join(t.PodPath(uid, qos), containerID)
}

// checkUID refuses what must not become part of a path.
func checkUID(uid string) error {
	if uid == "" || len(uid) > 200 || strings.ContainsAny(uid, "/\x00\n") {
		return fmt.Errorf("pod UID %q cannot name a cgroup", uid)
	}
	return nil
}

// writeFile writes a cgroup file in one system call, without creating it.
func writeFile(name, value string) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	if closing := f.Close(); err == nil {
		err = closing
	}
	return err
}

func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }
