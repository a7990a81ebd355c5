// SPDX-License-Identifier: Apache-2.0

package volumes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

const (
	volumesDir  = "volumes"
	subPathsDir = "volume-subpaths"
	// privateMode is the mode of the directories between Pod.Dir and a
	// volume: no business of anybody but the agent.
	privateMode = 0o750
)

// Pod says whose volumes they are.
type Pod struct {
	UID, Namespace, Name string

	// Dir is the Pod's directory. It exists, and nobody but the agent may
	// write to it or to its parents.
	Dir string

	// MemoryLimit in bytes bounds each volume in memory; 0 is no bound.
	MemoryLimit int64

	// HugePages are the sizes in bytes of the huge pages that the Pod asks for.
	HugePages []int64

	// FSGroup, when set, owns new volumes and the files made in them.
	FSGroup *int64

	// FSGroupOnRootMismatch leaves a persistent volume alone whose top the group
	// has already.
	FSGroupOnRootMismatch bool

	// OwnUsers says that the Pod has a user namespace of its own.
	OwnUsers bool

	// UserNamespace is the path of the Pod's own, empty when it has none, and before it
	// is made. Files are shown to containers as belonging to the users of the same numbers
	// in it; on the node nothing changes its owner.
	UserNamespace string

	// Claims has, by volume, what persistentVolumeClaims and ephemeral volumes are
	// bound to.
	Claims map[string]Claim

	// Files has, by volume, what the volumes of the types configMap, secret,
	// downwardAPI and projected consist of. A volume without an entry keeps
	// what it has.
	Files map[string]Files

	// Began, when set, hears of each volume before it is set up. What lies on a mount whose
	// server does not answer can take for ever.
	Began func(volume string)

	// Nested has, by volume, the directories below it on which containers
	// mount other volumes. Only read-only types need to know.
	Nested map[string][]string
}

// Volume is one that is set up.
type Volume struct {
	// Path is the source of the bind mount, free of symbolic links.
	Path string
	// File is true when Path is not a directory.
	File bool
	// ReadOnly volumes are mounted read-only, whatever the mount says.
	ReadOnly bool
	// Mapped is true for what belongs to the users of the Pod's user namespace as it is.
	Mapped bool
	// Host is true for what is the host's: others may put something else at Path. See
	// Manager.Verify.
	Host bool
	// Options, with commas, are mount options that every bind mount of it repeats: the OCI
	// runtime drops those of the source when it is given one.
	Options string
	// Device is true for a block device, which is not mounted. See Manager.Devices.
	Device bool
}

// Volumes holds a Pod's volumes by name.
type Volumes map[string]Volume

// Config is the node owner's say.
type Config struct {
	// AllowedHostPaths are the directories at or below which hostPath volumes
	// may lie, after symbolic links are resolved. Empty allows all.
	AllowedHostPaths []string
	// OwnVolumes is the directory in which the node makes persistent volumes;
	// these are always allowed.
	OwnVolumes string
}

// volumeType is one kind of volume. All methods are idempotent and keep
// nothing in memory.
type volumeType interface {
	// source is the field of corev1.VolumeSource, as in JSON.
	source() string

	// dir is the directory below volumes/ in which the type keeps its
	// volumes, or empty when it makes nothing there.
	dir() string

	// check refuses, without looking at the machine, what the type cannot
	// honour. The error starts with the field's path below the source, or
	// with a colon.
	check(v corev1.Volume) error

	// preview is what setUp would give on a Pod without volumes, or the error
	// that it would give now. It makes nothing.
	preview(pod Pod, v corev1.Volume) (Volume, error)

	// setUp makes the volume or adopts one that is there already with its
	// contents. When it fails, or the agent dies in it, another setUp or a
	// tearDown puts things right.
	setUp(ctx context.Context, pod Pod, v corev1.Volume) (Volume, error)

	// tearDown removes what setUp made, whether setUp has run, half or not at
	// all. While something is in use it returns an error and may be called
	// again.
	tearDown(ctx context.Context, pod Pod, name string) error

	// usage is what the volume's contents take.
	usage(ctx context.Context, pod Pod, name string) (Usage, error)
}

// Manager sets up volumes and tears them down. Calls for different Pods may
// run concurrently; calls for one Pod must not.
type Manager struct {
	types             []volumeType
	recursiveReadOnly bool
}

// New returns a Manager. It touches nothing.
func New(c Config) *Manager {
	host, nfs := hostPath{allowed: c.AllowedHostPaths}, newNFS()
	return &Manager{
		types: append([]volumeType{
			emptyDir{}, host, nfs, imageVolume{},
			claimVolume{"persistentVolumeClaim", host, nfs, c.OwnVolumes}, claimVolume{"ephemeral", host, nfs, c.OwnVolumes},
		}, projections()...),
		recursiveReadOnly: recursiveReadOnlySupported(),
	}
}

// RecursiveReadOnly tells whether the machine can make a mount read-only with all
// mounts below it.
func (m *Manager) RecursiveReadOnly() bool { return m.recursiveReadOnly }

// Check refuses the volumes that Setup could never set up: sources and media
// that are not supported. It looks at nothing and reports all errors at once.
func (m *Manager) Check(vols []corev1.Volume) error {
	var errs []error
	for i, v := range vols {
		if _, err := m.typeOf(i, v); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Setup makes the Pod's volumes, or adopts those that exist and writes what has
// changed of their files. An error names the volume or the field; Setup may then
// be called again, and Teardown removes what it left.
func (m *Manager) Setup(ctx context.Context, pod Pod, vols []corev1.Volume) (Volumes, error) {
	if err := m.Check(vols); err != nil {
		return nil, err
	}
	pod, err := resolved(pod)
	if err != nil {
		return nil, err
	}
	out := make(Volumes, len(vols))
	for i, v := range vols {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		t, err := m.typeOf(i, v)
		if err != nil {
			return nil, err
		}
		out[v.Name], err = t.setUp(ctx, pod, v)
		var device *DeviceError
		if errors.As(err, &device) {
			return nil, err
		}
		if err != nil {
			// The kubelet's words, for they become an event.
			return nil, fmt.Errorf("MountVolume.SetUp failed for volume %q : %w", v.Name, err)
		}
	}
	return out, nil
}

// Teardown removes everything that Setup and Mounts have made for the Pod,
// but not Pod.Dir. It may be called without Setup, and again. It does as much
// as it can and returns what went wrong; a volume that a process still uses
// stays for the next call.
func (m *Manager) Teardown(ctx context.Context, pod Pod) error {
	pod, err := resolved(pod)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	// First the sub-paths: their mounts keep the volumes busy.
	subPaths := filepath.Join(pod.Dir, subPathsDir)
	if err := removeAll(ctx, subPaths); err != nil {
		return err
	}
	dir := filepath.Join(pod.Dir, volumesDir)
	var errs []error
	for _, t := range m.types {
		if t.dir() == "" {
			continue
		}
		names, err := entries(filepath.Join(dir, t.dir()))
		if err != nil {
			errs = append(errs, err)
		}
		for _, name := range names {
			if err := t.tearDown(ctx, pod, name); err != nil {
				// The kubelet's words, for they become an event.
				errs = append(errs, fmt.Errorf("UnmountVolume.TearDown failed for volume %q : %w", name, err))
			}
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	// What is left are the directories of the types, and whatever an older
	// or newer agent may have made.
	return removeAll(ctx, dir)
}

// Usage tells, for each volume whose contents count as the Pod's (emptyDir), what they
// take, for a comparison with its sizeLimit. It walks volumes on disk.
func (m *Manager) Usage(ctx context.Context, pod Pod) (map[string]Usage, error) {
	pod, err := resolved(pod)
	if err != nil {
		return nil, err
	}
	out := map[string]Usage{}
	for _, t := range m.types {
		if t.dir() == "" {
			continue
		}
		names, err := entries(filepath.Join(pod.Dir, volumesDir, t.dir()))
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if strings.HasSuffix(name, newSuffix) {
				continue
			}
			if out[name], err = t.usage(ctx, pod, name); err != nil {
				return nil, fmt.Errorf("volume %s of pod %s: %w", name, pod.UID, err)
			}
		}
	}
	return out, nil
}

// typeOf finds the type of a volume and checks the volume.
func (m *Manager) typeOf(i int, v corev1.Volume) (volumeType, error) {
	if err := checkName(v.Name); err != nil {
		return nil, fmt.Errorf("spec.volumes[%d].name: %w", i, err)
	}
	source := sourceOf(v)
	for _, t := range m.types {
		if t.source() != source {
			continue
		}
		if err := t.check(v); err != nil {
			return nil, fmt.Errorf("spec.volumes[%d].%s%w", i, source, err)
		}
		return t, nil
	}
	return nil, fmt.Errorf("spec.volumes[%d].%s: not supported", i, source)
}

// checkName keeps names from being paths. The API asks for more (a DNS
// label); this is what the layout needs.
func checkName(name string) error {
	if name == "" || name == "." || name == ".." || len(name) > 253 || strings.ContainsAny(name, "/\x00~") {
		return fmt.Errorf("%q is not a name", name)
	}
	return nil
}

// resolved gives the Pod with Dir free of symbolic links, as the kernel has
// it in mountinfo.
func resolved(pod Pod) (Pod, error) {
	if !filepath.IsAbs(pod.Dir) {
		return Pod{}, fmt.Errorf("directory %q of pod %s: not an absolute path", pod.Dir, pod.UID)
	}
	dir, err := filepath.EvalSymlinks(pod.Dir)
	if err != nil {
		return Pod{}, err
	}
	pod.Dir = dir
	return pod, nil
}

func entries(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}
