// SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"fmt"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
)

// Times of tokens, in seconds, as Kubernetes has them.
const (
	// defaultSeconds is the life of a token for which none is asked.
	defaultSeconds = 60 * 60
	leastSeconds   = 10 * 60
	mostSeconds    = 1 << 32
	// MountedSeconds is the life that is asked for the tokens that Pods get without
	// asking. Programs that do not read them again may use them for extendedSeconds.
	MountedSeconds  = 60*60 + 7
	extendedSeconds = 365 * 24 * 60 * 60
)

var requestKind = authenticationv1.SchemeGroupVersion.WithKind("TokenRequest")

// Request answers a TokenRequest for a ServiceAccount: it returns the request,
// completed, with the token in its status. Its errors are Kubernetes'.
func (a *Authority) Request(namespace, name string, in *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error) {
	tr := in.DeepCopy()
	var account corev1.ServiceAccount
	if err := a.store.Get("serviceaccounts", namespace, name, &account); err != nil {
		return nil, err
	}
	if err := a.complete(tr, &account); err != nil {
		return nil, err
	}
	b := binding{Namespace: namespace, Account: ref{name, account.UID}}
	if tr.Spec.BoundObjectRef != nil {
		if err := a.bind(&b, tr.Spec.BoundObjectRef); err != nil {
			return nil, err
		}
	}
	life, warnAfter := time.Duration(*tr.Spec.ExpirationSeconds)*time.Second, time.Duration(0)
	if b.Pod != nil && *tr.Spec.ExpirationSeconds == MountedSeconds && a.isOurs(tr.Spec.Audiences) {
		life, warnAfter = extendedSeconds*time.Second, life
	}
	text, err := a.sign(b, tr.Spec.Audiences, life, warnAfter)
	if err != nil {
		return nil, apierrors.NewInternalError(fmt.Errorf("failed to generate token: %w", err))
	}
	tr.Status.Token = text
	tr.Status.ExpirationTimestamp = metav1.Time{Time: tr.CreationTimestamp.Add(time.Duration(*tr.Spec.ExpirationSeconds) * time.Second)}
	return tr, nil
}

// Token makes a token of a Pod's ServiceAccount that ends with the Pod. No
// audience means the API itself; seconds is how long it is to be used, and expires
// when that is over.
func (a *Authority) Token(_ context.Context, pod *corev1.Pod, audience string, seconds int64) (text string, expires time.Time, err error) {
	tr := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: &seconds,
		BoundObjectRef:    &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID},
	}}
	if audience != "" {
		tr.Spec.Audiences = []string{audience}
	}
	tr, err = a.Request(pod.Namespace, pod.Spec.ServiceAccountName, tr)
	if err != nil {
		return "", time.Time{}, err
	}
	return tr.Status.Token, tr.Status.ExpirationTimestamp.Time, nil
}

// Lasting makes the token of a Secret of the type kubernetes.io/service-account-token: it
// is good as long as it is in the Secret and the ServiceAccount is there.
func (a *Authority) Lasting(account *corev1.ServiceAccount, secret *corev1.Secret) ([]byte, error) {
	b := binding{Namespace: account.Namespace, Account: ref{account.Name, account.UID}, Secret: &ref{secret.Name, secret.UID}}
	text, err := a.sign(b, []string{a.issuer}, 0, 0)
	return []byte(text), err
}

// complete sets what was left open and checks the rest.
func (a *Authority) complete(tr *authenticationv1.TokenRequest, account *corev1.ServiceAccount) error {
	metadata := field.NewPath("metadata")
	switch {
	case tr.Name != "" && tr.Name != account.Name:
		return invalid(account.Name, field.Invalid(metadata.Child("name"), tr.Name, "must match the service account name if specified"))
	case tr.Namespace != "" && tr.Namespace != account.Namespace:
		return invalid(account.Name, field.Invalid(metadata.Child("namespace"), tr.Namespace, "must match the service account namespace if specified"))
	case tr.UID != "" && tr.UID != account.UID:
		return apierrors.NewConflict(schema.GroupResource{Group: requestKind.Group, Resource: requestKind.Kind}, account.Name,
			fmt.Errorf("the UID in the token request (%s) does not match the UID of the service account (%s)", tr.UID, account.UID))
	}
	tr.Name, tr.Namespace, tr.UID = account.Name, account.Namespace, account.UID
	tr.CreationTimestamp, tr.Status = metav1.NewTime(a.now()), authenticationv1.TokenRequestStatus{}
	if len(tr.Spec.Audiences) == 0 {
		tr.Spec.Audiences = []string{a.issuer}
	}
	if tr.Spec.ExpirationSeconds == nil {
		tr.Spec.ExpirationSeconds = ptr.To[int64](defaultSeconds)
	}
	path, seconds := field.NewPath("spec", "expirationSeconds"), *tr.Spec.ExpirationSeconds
	switch {
	case seconds < leastSeconds:
		return invalid("", field.Invalid(path, seconds, "may not specify a duration less than 10 minutes"))
	case seconds > mostSeconds:
		return invalid("", field.Invalid(path, seconds, "may not specify a duration larger than 2^32 seconds"))
	}
	return nil
}

func invalid(name string, err *field.Error) error {
	return apierrors.NewInvalid(requestKind.GroupKind(), name, field.ErrorList{err})
}

func (a *Authority) isOurs(audiences []string) bool {
	for _, audience := range audiences {
		if audience != a.issuer {
			return false
		}
	}
	return true
}

// bind makes the token end with an object.
func (a *Authority) bind(b *binding, to *authenticationv1.BoundObjectReference) error {
	gvk := schema.FromAPIVersionAndKind(to.APIVersion, to.Kind)
	var uid types.UID
	switch {
	case gvk.Group == "" && gvk.Kind == "Pod":
		var pod corev1.Pod
		if err := a.store.Get("pods", b.Namespace, to.Name, &pod); err != nil {
			return err
		}
		if pod.Spec.ServiceAccountName != b.Account.Name {
			return apierrors.NewBadRequest(fmt.Sprintf("cannot bind token for serviceaccount %q to pod running with different serviceaccount name.", b.Account.Name))
		}
		uid, b.Pod = pod.UID, &ref{pod.Name, pod.UID}
		b.Node = a.nodeOf(pod.Spec.NodeName)
	case gvk.Group == "" && gvk.Kind == "Secret":
		var secret metav1.PartialObjectMetadata
		if err := a.store.Get("secrets", b.Namespace, to.Name, &secret); err != nil {
			return err
		}
		uid, b.Secret = secret.UID, &ref{to.Name, secret.UID}
	case gvk.Group == "" && gvk.Kind == "Node":
		var node metav1.PartialObjectMetadata
		if err := a.store.Get("nodes", "", to.Name, &node); err != nil {
			return err
		}
		uid, b.Node = node.UID, &ref{to.Name, node.UID}
	default:
		return apierrors.NewBadRequest("cannot bind token to object of type " + gvk.String())
	}
	if to.UID != "" && to.UID != uid {
		return apierrors.NewConflict(schema.GroupResource{Group: gvk.Group, Resource: gvk.Kind}, to.Name,
			fmt.Errorf("the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", to.UID))
	}
	return nil
}

// nodeOf is told in the token of a Pod, as far as it is known.
func (a *Authority) nodeOf(name string) *ref {
	if name == "" {
		return nil
	}
	var node metav1.PartialObjectMetadata
	if err := a.store.Get("nodes", "", name, &node); err != nil {
		return &ref{Name: name}
	}
	return &ref{name, node.UID}
}
