// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/utils/ptr"

	"github.com/minikubelet/minikubelet/agent/socket"
	"github.com/minikubelet/minikubelet/api"
)

const (
	// annotationForeground marks what a run beside an agent has made; its value is the
	// run's own.
	annotationForeground = "minikubelet/foreground"
	// removalTime is how long an object may take to go.
	removalTime = 30 * time.Second
)

// besideObjects is what a run has made through the API, oldest first.
type besideObjects struct {
	client *socket.Client
	run    string
	all    []besideObject
}

type besideObject struct {
	resource, namespace, name string
	uid                       types.UID // empty: whether it was made is not known
}

func (o besideObject) String() string {
	return strings.TrimSuffix(o.resource, "s") + " " + strings.TrimPrefix(o.namespace+"/"+o.name, "/")
}

func newBesideObjects(c *socket.Client) *besideObjects {
	return &besideObjects{client: c, run: string(uuid.NewUUID())}
}

// create makes what the Pods use, and then the Pods. Nothing is made when something
// of that name is there already; only a namespace that is there serves as it is.
func (b *besideObjects) create(ctx context.Context, nodeName string, o RunOptions, c *Console) ([]*corev1.Pod, error) {
	for i := range o.Objects {
		if kind, meta := o.Objects[i].Kind, o.Objects[i].Other; kind.Namespaced || kind.KeepsData() {
			if err := b.free(ctx, kind, meta); err != nil {
				return nil, err
			}
		}
	}
	for _, pod := range o.Pods {
		if err := b.freeName(ctx, "pods", pod); err != nil {
			return nil, err
		}
	}
	for _, kind := range api.ManifestKinds() {
		for i := range o.Objects {
			if o.Objects[i].Kind.Kind != kind.Kind {
				continue
			}
			if err := b.makeOther(ctx, &kind, o.Objects[i].Other, c); err != nil {
				return nil, err
			}
		}
		if kind.Kind != "Namespace" {
			continue
		}
		if err := b.namespaces(ctx, o, c); err != nil {
			return nil, err
		}
	}
	var pods []*corev1.Pod
	for _, pod := range o.Pods {
		made := new(corev1.Pod)
		_, known := api.Unsupported(pod, nodeName) // the user was told when the manifest was read
		if err := b.make(ctx, "pods", pod, made, known, c); err != nil {
			return nil, err
		}
		pods = append(pods, made)
	}
	return pods, nil
}

// free is why an object cannot be made and none of its name serves.
func (b *besideObjects) free(ctx context.Context, kind *api.ManifestKind, o api.Meta) error {
	have := kind.New()
	err := b.client.Get(ctx, kind.GroupResource(), o.GetNamespace(), o.GetName(), have)
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return err
	}
	if reused, why := reuse(kind, o.DeepCopyObject().(api.Meta), have); reused {
		return why
	}
	return b.freeName(ctx, kind.GroupResource(), o)
}

// makeOther creates an object that is no Pod. What leads to data serves if it is there,
// and is left with the namespace that it is in, unless it is to be removed.
func (b *besideObjects) makeOther(ctx context.Context, kind *api.ManifestKind, o api.Meta, c *Console) error {
	resource, have := kind.GroupResource(), kind.New()
	err := b.make(ctx, resource, o, have, nil, c)
	if apierrors.IsAlreadyExists(err) && kind.KeepsData() { // free has seen that it serves
		if err = b.client.Get(ctx, resource, o.GetNamespace(), o.GetName(), have); err == nil {
			b.all = append(b.all, besideObject{resource, o.GetNamespace(), o.GetName(), have.GetUID()})
		}
	}
	if kind.Stays(o) {
		b.all = slices.DeleteFunc(b.all, func(made besideObject) bool {
			return made.resource == resource && made.namespace == o.GetNamespace() && made.name == o.GetName() ||
				made.resource == "namespaces" && made.name == o.GetNamespace()
		})
	}
	return err
}

// freeName is why something of an object's name cannot be made.
func (b *besideObjects) freeName(ctx context.Context, resource string, o api.Meta) error {
	var there metav1.PartialObjectMetadata
	err := b.client.Get(ctx, resource, o.GetNamespace(), o.GetName(), &there)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	what := besideObject{resource: resource, namespace: o.GetNamespace(), name: o.GetName()}
	if file := there.Annotations[annotationFile]; file != "" {
		return fmt.Errorf("%s is there already, from the manifest %s: choose another name; nothing was changed", what, file)
	}
	in := ""
	if o.GetNamespace() != "" {
		in = "-n " + o.GetNamespace() + " "
	}
	return fmt.Errorf("%s is there already: choose another name, or remove it (kubectl delete %s%s %s); nothing was changed",
		what, in, strings.TrimSuffix(resource, "s"), o.GetName())
}

// namespaces makes those that the objects and Pods are in and that are not there.
func (b *besideObjects) namespaces(ctx context.Context, o RunOptions, c *Console) error {
	var names []string
	for i := range o.Objects {
		names = append(names, o.Objects[i].Other.GetNamespace())
	}
	for _, pod := range o.Pods {
		names = append(names, pod.Namespace)
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if name == "" { // of what is in none
			continue
		}
		n := &corev1.Namespace{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}, ObjectMeta: metav1.ObjectMeta{Name: name}}
		err := b.client.Get(ctx, "namespaces", "", name, new(corev1.Namespace))
		if apierrors.IsNotFound(err) {
			err = b.make(ctx, "namespaces", n, new(corev1.Namespace), nil, c)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// make creates one object, and shows the warnings that are not known.
func (b *besideObjects) make(ctx context.Context, resource string, o, into api.Meta, known []api.Warning, c *Console) error {
	o = o.DeepCopyObject().(api.Meta)
	annotate(o, map[string]string{annotationForeground: b.run})
	what := besideObject{resource: resource, namespace: o.GetNamespace(), name: o.GetName()}
	warnings, err := b.client.Create(ctx, resource, o.GetNamespace(), o, into)
	switch {
	case resource == "namespaces" && apierrors.IsAlreadyExists(err):
		return nil
	case err == nil:
		what.uid = into.GetUID()
		b.all = append(b.all, what)
	case !socket.Refused(err): // perhaps it was made
		b.all = append(b.all, what)
	}
	for _, w := range warnings {
		if !slices.ContainsFunc(known, func(k api.Warning) bool { return k.Field+": "+k.Message == w }) {
			c.note("warning: " + w)
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// forget takes a Pod for removed.
func (b *besideObjects) forget(pod *corev1.Pod) {
	b.all = slices.DeleteFunc(b.all, func(o besideObject) bool { return o.uid == pod.UID })
}

// rest says what is left for the user to remove.
func (b *besideObjects) rest() string {
	var names []string
	for _, o := range b.all {
		names = append(names, o.String())
	}
	return "not removed: " + strings.Join(names, ", ") + "; start the agent again (minikubelet serve) and remove them with kubectl delete"
}

// remove ends what there is left, the newest first.
func (b *besideObjects) remove(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, awayMax)
	defer cancel()
	var errs []error
	for len(b.all) > 0 {
		o := b.all[len(b.all)-1]
		err := untilHeard(ctx, func() error { return b.removeOne(ctx, o) })
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			errs = append(errs, fmt.Errorf("%s stays: %w; remove it with kubectl delete", o, err))
		}
		b.all = b.all[:len(b.all)-1]
	}
	return errors.Join(errs...)
}

func (b *besideObjects) removeOne(ctx context.Context, o besideObject) error {
	uid := o.uid
	if uid == "" {
		var there metav1.PartialObjectMetadata
		err := b.client.Get(ctx, o.resource, o.namespace, o.name, &there)
		if err != nil || there.Annotations[annotationForeground] != b.run {
			return err
		}
		uid = there.UID
	}
	if o.resource == "namespaces" {
		if err := b.unused(ctx, o.name); err != nil {
			return err
		}
	}
	options := metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}}
	if o.resource == "pods" {
		options.GracePeriodSeconds = ptr.To[int64](0)
	}
	if err := b.client.Delete(ctx, o.resource, o.namespace, o.name, options); err != nil {
		return err
	}
	return b.awaitGone(ctx, o, uid)
}

// unused is why a namespace has to stay: somebody else runs Pods in it by now.
func (b *besideObjects) unused(ctx context.Context, name string) error {
	pods, _, err := socket.List[metav1.PartialObjectMetadata](ctx, b.client, "pods", name)
	if err == nil && len(pods) > 0 {
		err = apierrors.NewForbidden(corev1.Resource("namespaces"), name, fmt.Errorf("pod %s is in it", pods[0].Name))
	}
	return err
}

// awaitGone waits for what takes its time to end.
func (b *besideObjects) awaitGone(ctx context.Context, o besideObject, uid types.UID) error {
	ctx, cancel := context.WithTimeout(ctx, removalTime)
	defer cancel()
	for {
		var there metav1.PartialObjectMetadata
		err := b.client.Get(ctx, o.resource, o.namespace, o.name, &there)
		if err != nil || there.UID != uid {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("it has not ended within %v", removalTime)
		case <-time.After(awayAgain / 4):
		}
	}
}
