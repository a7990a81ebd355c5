// SPDX-License-Identifier: Apache-2.0

package volumes

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
)

// Claim is where the data of a persistent volume lie. One of HostPath, Local, Device and
// NFS is set.
type Claim struct {
	Name     string // of the PersistentVolume
	HostPath *corev1.HostPathVolumeSource
	// Local is a directory. An fsGroup owns what is in it, which it does not in a
	// hostPath.
	Local string
	// Device is the path of a block device.
	Device string
	NFS    *NFS
	// ReadOnly is the Pod's wish.
	ReadOnly bool
}

// claimVolume is a persistent volume, of one of the sources by which a Pod asks for
// it. Nothing but the mount of an nfs volume is made below Pod.Dir, and the data stay
// when the Pod goes: whoever found out what the claim is bound to removes them.
type claimVolume struct {
	field    string
	hostPath hostPath
	nfs      *nfs
	// dir is below which the node itself makes volumes: always allowed.
	own string
}

func (c claimVolume) source() string          { return c.field }
func (claimVolume) dir() string               { return "" }
func (claimVolume) check(corev1.Volume) error { return nil }

// preview: what the claim is bound to is not looked up in a dry run.
func (c claimVolume) preview(pod Pod, v corev1.Volume) (Volume, error) {
	name := pod.Name + "-" + v.Name
	if v.PersistentVolumeClaim != nil {
		name = v.PersistentVolumeClaim.ClaimName
	}
	return Volume{Path: fmt.Sprintf("<volume of claim %s/%s>", pod.Namespace, name)}, nil
}

func (c claimVolume) setUp(ctx context.Context, pod Pod, v corev1.Volume) (Volume, error) {
	claim, ok := pod.Claims[v.Name]
	if !ok {
		return Volume{}, errors.New("it is not known what the claim is bound to")
	}
	if claim.Device != "" {
		return c.hostPath.blockDevice(claim)
	}
	if claim.NFS != nil {
		source := *claim.NFS
		source.ReadOnly = source.ReadOnly || claim.ReadOnly
		return c.nfs.attach(ctx, pod, v.Name, source)
	}
	allowed, source := c.hostPath, claim.HostPath
	if source == nil {
		directory := corev1.HostPathDirectory
		source = &corev1.HostPathVolumeSource{Path: claim.Local, Type: &directory}
		if c.own != "" && filepath.Dir(filepath.Clean(claim.Local)) == filepath.Clean(c.own) {
			allowed.allowed = nil
		}
	}
	as := corev1.Volume{Name: v.Name, VolumeSource: corev1.VolumeSource{HostPath: source}}
	if err := allowed.check(as); err != nil {
		return Volume{}, fmt.Errorf("the volume's hostPath%w", err)
	}
	vol, err := allowed.setUp(ctx, pod, as)
	if err != nil {
		return Volume{}, err
	}
	vol.ReadOnly = claim.ReadOnly
	if claim.HostPath == nil && pod.FSGroup != nil && !vol.ReadOnly {
		err = giveToGroup(ctx, vol.Path, int(*pod.FSGroup), pod.FSGroupOnRootMismatch)
	}
	return vol, err
}

// tearDown and usage: the volume is not the Pod's, and what nfs has made nfs removes.
func (claimVolume) tearDown(context.Context, Pod, string) error       { return nil }
func (claimVolume) usage(context.Context, Pod, string) (Usage, error) { return Usage{}, nil }
