// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"

	"github.com/minikubelet/minikubelet/runtime/image"
)

const (
	// imagesShown is how many images a Node's status lists, the largest first, and
	// namesShown how many names of each: the kubelet's nodeStatusMaxImages and
	// MaxNamesPerImageInNodeStatus.
	imagesShown, namesShown = 50, 5
)

// nodeFacts fills in what a Node's status tells of the node beyond resources and
// conditions.
func (a *Agent) nodeFacts(ctx context.Context, s *corev1.NodeStatus) {
	s.DaemonEndpoints.KubeletEndpoint.Port = a.apiPort
	s.RuntimeHandlers = []corev1.NodeRuntimeHandler{{Features: &corev1.NodeRuntimeHandlerFeatures{
		RecursiveReadOnlyMounts: ptr.To(a.volumes.RecursiveReadOnly()), UserNamespaces: ptr.To(a.userNamespaces() == nil),
	}}}
	s.Features = &corev1.NodeFeatures{SupplementalGroupsPolicy: ptr.To(true)}
	var machine unix.Sysinfo_t
	if err := unix.Sysinfo(&machine); err == nil && machine.Totalswap > 0 {
		s.NodeInfo.Swap = &corev1.NodeSwapStatus{Capacity: ptr.To(int64(machine.Totalswap) * int64(machine.Unit))}
	}
	list, err := a.images.List(ctx)
	if err != nil {
		a.log.Warn("the node's status keeps its old list of images", "err", err)
		return
	}
	s.Images = nodeImages(list)
}

// nodeImages lists each image once, with its digests before its tags.
func nodeImages(list []image.Image) []corev1.ContainerImage {
	var out []corev1.ContainerImage
	seen := make(map[string]bool)
	for _, i := range list {
		id := i.ID.String()
		if i.Problem != "" || seen[id] {
			continue
		}
		seen[id] = true
		names := slices.Concat(i.RepoDigests, i.RepoTags)
		if len(names) == 0 {
			names = []string{i.Name}
		}
		out = append(out, corev1.ContainerImage{Names: names[:min(len(names), namesShown)], SizeBytes: i.Size})
	}
	slices.SortStableFunc(out, func(a, b corev1.ContainerImage) int {
		switch {
		case a.SizeBytes > b.SizeBytes:
			return -1
		case a.SizeBytes < b.SizeBytes:
			return 1
		}
		return strings.Compare(a.Names[0], b.Names[0])
	})
	return out[:min(len(out), imagesShown)]
}

// diskCapacity is the size of the file system that holds a directory, which need
// not exist yet.
func diskCapacity(dir string) (resource.Quantity, bool) {
	for {
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err == nil {
			return *resource.NewQuantity(int64(st.Blocks)*st.Frsize, resource.BinarySI), true
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return resource.Quantity{}, false
		}
		dir = parent
	}
}
