// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilrand "k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/utils/ptr"

	"github.com/minikubelet/minikubelet/apiserver/token"
	"github.com/minikubelet/minikubelet/store"
)

const (
	defaultAccount = "default"
	// accountWait is how long a Pod waits for the default ServiceAccount of a namespace
	// that has just been made.
	accountWait = 2 * time.Second
	// tokenVolume is the beginning of the volume's name, tokenPath where it is mounted.
	tokenVolume = "kube-api-access"
	tokenPath   = "/var/run/secrets/kubernetes.io/serviceaccount"
)

// completePod gives a Pod what its ServiceAccount brings: its imagePullSecrets, and
// a volume with a token, the CA and the namespace, as Kubernetes' ServiceAccount
// admission does.
func (s *Server) completePod(r *http.Request, o store.Object) error {
	if s.cfg.Tokens == nil {
		return nil
	}
	p := o.(*corev1.Pod)
	if p.Spec.ServiceAccountName == "" {
		p.Spec.ServiceAccountName = p.Spec.DeprecatedServiceAccount
	}
	if p.Spec.ServiceAccountName == "" {
		p.Spec.ServiceAccountName = defaultAccount
	}
	account, err := s.account(r.Context(), p.Namespace, p.Spec.ServiceAccountName)
	if err != nil {
		return apierrors.NewForbidden(corev1.Resource("pods"), p.Name,
			fmt.Errorf("error looking up service account %s/%s: %w", p.Namespace, p.Spec.ServiceAccountName, err))
	}
	mount := s.cfg.MountTokens
	for _, says := range []*bool{account.AutomountServiceAccountToken, p.Spec.AutomountServiceAccountToken} {
		if says != nil { // what the Pod says counts more
			mount = *says
		}
	}
	if mount {
		mountToken(p)
	}
	if len(p.Spec.ImagePullSecrets) == 0 {
		p.Spec.ImagePullSecrets = slices.Clone(account.ImagePullSecrets)
	}
	return nil
}

// account is a ServiceAccount. The default one of a new namespace may be on its
// way.
func (s *Server) account(ctx context.Context, namespace, name string) (*corev1.ServiceAccount, error) {
	ctx, cancel := context.WithTimeout(ctx, accountWait)
	defer cancel()
	events := s.cfg.Store.Watch("serviceaccounts", s.cfg.Store.Revision())
	defer events.Close()
	for {
		account := new(corev1.ServiceAccount)
		err := s.cfg.Store.Get("serviceaccounts", namespace, name, account)
		if !apierrors.IsNotFound(err) || name != defaultAccount {
			return account, missing(err, name)
		}
		if _, over := events.Next(ctx); over != nil {
			return nil, missing(err, name)
		}
	}
}

func missing(err error, name string) error {
	if apierrors.IsNotFound(err) {
		return apierrors.NewNotFound(corev1.Resource("serviceaccount"), name)
	}
	return err
}

// mountToken mounts the volume in every container that has nothing in that place.
func mountToken(p *corev1.Pod) {
	name, have := tokenVolume+"-"+utilrand.String(generatedRandom), false
	for i := range p.Spec.Volumes {
		if strings.HasPrefix(p.Spec.Volumes[i].Name, tokenVolume+"-") {
			name, have = p.Spec.Volumes[i].Name, true
			break
		}
	}
	needed := false
	for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			c := &list[i]
			if !slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == tokenPath }) {
				c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: name, ReadOnly: true, MountPath: tokenPath})
				needed = true
			}
		}
	}
	if !needed || have {
		return
	}
	p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		DefaultMode: ptr.To(corev1.ProjectedVolumeSourceDefaultMode),
		Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: ptr.To[int64](token.MountedSeconds)}},
			{ConfigMap: &corev1.ConfigMapProjection{
				LocalObjectReference: corev1.LocalObjectReference{Name: "kube-root-ca.crt"},
				Items:                []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}},
			}},
			{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{
				{Path: "namespace", FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.namespace"}},
			}}},
		},
	}}})
}
