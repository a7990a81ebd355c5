// SPDX-License-Identifier: Apache-2.0

package spec

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/user"
	"github.com/opencontainers/runtime-spec/specs-go"
	corev1 "k8s.io/api/core/v1"
)

// imageUser is the user part of an image's USER: an ID or a name. Kubernetes
// does not use the group part. An image without USER runs as root.
func imageUser(configured string) (id int64, name string, err error) {
	u, _, _ := strings.Cut(configured, ":")
	if u == "" {
		return 0, "", nil
	}
	id, err = strconv.ParseInt(u, 10, 64)
	switch {
	case err == nil && id >= 0 && id <= math.MaxInt32:
		return id, "", nil
	case err == nil || errors.Is(err, strconv.ErrRange):
		return 0, "", fmt.Errorf("image: user %q is out of range, must be 0 to %d", configured, math.MaxInt32)
	}
	return 0, u, nil
}

// VerifyRunAsNonRoot checks runAsNonRoot against the user that the container
// will have: that of its security context, else the image's. The message is
// the kubelet's.
func VerifyRunAsNonRoot(pod *corev1.Pod, c *corev1.Container, s Security, configuredImageUser string) error {
	if err := verifyNonRoot(s, configuredImageUser); err != nil {
		return fmt.Errorf("%w (pod: %q, container: %s)", err,
			fmt.Sprintf("%s_%s(%s)", pod.Name, pod.Namespace, pod.UID), c.Name)
	}
	return nil
}

func verifyNonRoot(s Security, configuredImageUser string) error {
	if !s.RunAsNonRoot {
		return nil
	}
	if s.RunAsUser != nil {
		if *s.RunAsUser == 0 {
			return errors.New("container's runAsUser breaks non-root policy")
		}
		return nil
	}
	id, name, err := imageUser(configuredImageUser)
	switch {
	case err != nil:
		return err
	case name != "":
		return fmt.Errorf("container has runAsNonRoot and image has non-numeric user (%s), cannot verify user is non-root", name)
	case id == 0:
		return errors.New("container has runAsNonRoot and image will run as root")
	}
	return nil
}

// resolveUser finds the IDs of the container's process. The image's files
// give the ID of a name, the primary group unless runAsGroup is set, and,
// unless the policy is Strict, the user's further groups.
func resolveUser(o Options, rootfs Rootfs) (specs.User, error) {
	s := o.Security
	if err := s.checkIDs(); err != nil {
		return specs.User{}, err
	}
	if err := verifyNonRoot(s, o.Image.User); err != nil {
		return specs.User{}, err
	}
	id, name, err := imageUser(o.Image.User)
	if s.RunAsUser != nil {
		id, name, err = *s.RunAsUser, "", nil
	}
	if err != nil {
		return specs.User{}, err
	}

	files := UserFiles{}
	needed := name != "" || s.RunAsGroup == nil || !s.StrictGroups
	switch {
	case !needed:
	case o.UserFiles != nil:
		files = *o.UserFiles
	default:
		err := rootfs(func(root string) (err error) {
			files, err = ReadUserFiles(root)
			return err
		})
		if err != nil {
			return specs.User{}, fmt.Errorf("image: read /etc/passwd and /etc/group: %w", err)
		}
	}
	entry, err := files.user(id, name)
	if err != nil {
		return specs.User{}, err
	}
	out := specs.User{UID: uint32(entry.Uid), GID: uint32(entry.Gid)}
	if s.RunAsGroup != nil {
		out.GID = uint32(*s.RunAsGroup)
	}
	out.AdditionalGids = []uint32{out.GID}
	add := func(g uint32) {
		if !slices.Contains(out.AdditionalGids, g) {
			out.AdditionalGids = append(out.AdditionalGids, g)
		}
	}
	if !s.StrictGroups && entry.Name != "" {
		groups, err := files.groups(entry.Name)
		if err != nil {
			return specs.User{}, err
		}
		for _, g := range groups {
			add(g)
		}
	}
	for _, g := range s.SupplementalGroups {
		add(uint32(g))
	}
	return out, nil
}

// checkMapped refuses users and groups that a user namespace does not have: the kernel
// would, with EINVAL, when the container is about to start.
func checkMapped(u specs.User, n Namespaces) error {
	if n.User == "" {
		return nil
	}
	if u.UID >= n.IDs.Size {
		return fmt.Errorf("user %d is not in the Pod's user namespace, which has 0 to %d: set securityContext.runAsUser to one of them, or hostUsers to true", u.UID, n.IDs.Size-1)
	}
	for _, g := range append([]uint32{u.GID}, u.AdditionalGids...) {
		if g >= n.IDs.Size {
			return fmt.Errorf("group %d is not in the Pod's user namespace, which has 0 to %d: set runAsGroup, fsGroup and supplementalGroups of securityContext to some of them, or hostUsers to true", g, n.IDs.Size-1)
		}
	}
	return nil
}

// user finds the entry of a name, which must exist, or of an ID, which need
// not: such a user has no name and group 0.
func (f UserFiles) user(id int64, name string) (user.User, error) {
	found, err := user.ParsePasswdFilter(bytes.NewReader(f.Passwd), func(u user.User) bool {
		if name != "" {
			return u.Name == name
		}
		return int64(u.Uid) == id
	})
	if err != nil {
		return user.User{}, fmt.Errorf("image: /etc/passwd: %w", err)
	}
	if len(found) == 0 {
		if name != "" {
			return user.User{}, fmt.Errorf("image: user %q is not in the image's /etc/passwd: set securityContext.runAsUser", name)
		}
		return user.User{Uid: int(id)}, nil
	}
	u := found[0]
	if u.Uid < 0 || u.Uid > math.MaxInt32 || u.Gid < 0 || u.Gid > math.MaxInt32 {
		return user.User{}, fmt.Errorf("image: /etc/passwd: user %q: ID out of range, must be 0 to %d", u.Name, math.MaxInt32)
	}
	return u, nil
}

// groups are the groups that list the user as a member.
func (f UserFiles) groups(name string) ([]uint32, error) {
	found, err := user.ParseGroupFilter(bytes.NewReader(f.Group), func(g user.Group) bool {
		return g.Name != name && slices.Contains(g.List, name)
	})
	if err != nil {
		return nil, fmt.Errorf("image: /etc/group: %w", err)
	}
	var out []uint32
	for _, g := range found {
		if g.Gid < 0 || g.Gid > math.MaxInt32 {
			return nil, fmt.Errorf("image: /etc/group: group %q: ID out of range, must be 0 to %d", g.Name, math.MaxInt32)
		}
		out = append(out, uint32(g.Gid))
	}
	return out, nil
}
