// SPDX-License-Identifier: Apache-2.0

package claims

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/minikubelet/minikubelet/store"
)

// The store's names of what the controller works on.
const (
	pods    = "pods"
	claims  = "persistentvolumeclaims"
	volumes = "persistentvolumes"
	classes = "storageclasses"
	nodes   = "nodes"
)

const (
	protectClaim  = "kubernetes.io/pvc-protection"
	protectVolume = "kubernetes.io/pv-protection"

	annBindCompleted = "pv.kubernetes.io/bind-completed"
	annBound         = "pv.kubernetes.io/bound-by-controller"
	annProvisioner   = "pv.kubernetes.io/provisioned-by"
)

// again is how long a failed write or removal waits for the next try.
const again = time.Second

// Config is what a controller works with.
type Config struct {
	Store *store.Store
	Node  string
	// Dir is where volumes are made. Nobody but the agent may write to it or to
	// its parents, and it has no symbolic links.
	Dir string
	// Tell tells of an object; it must not block.
	Tell func(ref corev1.ObjectReference, kind, reason, message string)
	// Bound keeps a directory to a size in bytes, 0 to none; ErrNotBounded if that cannot
	// be done.
	Bound func(dir string, bytes int64) error
	// Remove removes a directory with all that is in it.
	Remove func(ctx context.Context, dir string) error
	Log    *slog.Logger
}

type controller struct {
	Config
	// told is what was last said of an object, by UID.
	told map[types.UID]note
	// unbounded are the volumes that cannot be kept to their size.
	unbounded map[types.UID]bool
	// seen is what the store has, as of one look at it.
	seen snapshot
}

// snapshot is the controller's own copy.
type snapshot struct {
	pods    []*corev1.Pod
	claims  []*corev1.PersistentVolumeClaim
	volumes []*corev1.PersistentVolume
	classes []*storagev1.StorageClass
	node    map[string]string
}

// Run works until ctx ends, woken by the store. Everything is looked at after each
// change of something that matters: a node has few claims.
func Run(ctx context.Context, cfg Config) error {
	c := &controller{Config: cfg, told: make(map[types.UID]note), unbounded: make(map[types.UID]bool)}
	return c.Store.Follow(ctx, store.All, store.Follower{
		See: matters,
		Work: func() bool {
			err := c.sync(ctx)
			if err != nil && !apierrors.IsConflict(err) && ctx.Err() == nil {
				c.Log.Warn("volumes of claims are not as they should be; it is tried again", "err", err)
			}
			return err == nil
		},
		Retry: again,
	})
}

// Settle does what is to be done now and returns: for an agent that comes to its end,
// whose last Pod is gone.
func Settle(ctx context.Context, cfg Config) error {
	c := &controller{Config: cfg, told: make(map[types.UID]note), unbounded: make(map[types.UID]bool)}
	for ctx.Err() == nil {
		before := c.Store.Revision()
		if err := c.sync(ctx); err != nil {
			return err
		}
		if c.Store.Revision() == before {
			return nil
		}
	}
	return ctx.Err()
}

// matters tells whether a change can have something to do with a volume.
func matters(e store.Event) bool {
	switch e.Resource {
	case claims, volumes, classes:
		return true
	case pods:
		p, ok := e.Object.(*corev1.Pod)
		return ok && (e.Type != store.Modified || p.DeletionTimestamp != nil || p.Status.Phase == corev1.PodPending) && slices.ContainsFunc(p.Spec.Volumes, func(v corev1.Volume) bool {
			return claimOf(p, &v) != ""
		})
	}
	return false
}

func claimOf(p *corev1.Pod, v *corev1.Volume) string {
	switch {
	case v.PersistentVolumeClaim != nil:
		return v.PersistentVolumeClaim.ClaimName
	case v.Ephemeral != nil:
		return p.Name + "-" + v.Name
	}
	return ""
}

func list[T any](s *store.Store, resource string) (out []*T, err error) {
	_, err = s.List(resource, "", func(data store.Data) error {
		o := new(T)
		out = append(out, o)
		return data.Into(o)
	})
	return out, err
}

func (c *controller) look() (err error) {
	var s snapshot
	var errs [4]error
	s.claims, errs[0] = list[corev1.PersistentVolumeClaim](c.Store, claims)
	s.volumes, errs[1] = list[corev1.PersistentVolume](c.Store, volumes)
	s.classes, errs[2] = list[storagev1.StorageClass](c.Store, classes)
	s.pods, errs[3] = list[corev1.Pod](c.Store, pods)
	var node corev1.Node
	if err := c.Store.Get(nodes, "", c.Node, &node); err == nil {
		s.node = node.Labels
	}
	if s.node == nil {
		s.node = map[string]string{corev1.LabelHostname: c.Node}
	}
	c.seen = s
	return errors.Join(errs[:]...)
}

// sync does all that there is to do now. Conflicts come back as events, and are
// tried again.
func (c *controller) sync(ctx context.Context) error {
	if err := c.look(); err != nil {
		return err
	}
	var errs []error
	for _, p := range c.seen.pods {
		errs = append(errs, c.makeEphemeral(p))
	}
	for _, pv := range c.seen.volumes {
		errs = append(errs, c.volume(ctx, pv))
	}
	for _, claim := range c.seen.claims {
		errs = append(errs, c.claim(claim))
	}
	c.forget()
	for _, err := range errs {
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}

// claim brings one claim forward.
func (c *controller) claim(claim *corev1.PersistentVolumeClaim) error {
	used := c.used(claim)
	if claim.DeletionTimestamp != nil {
		if used {
			return nil
		}
		return unprotect(c.Store, claims, claim, protectClaim)
	}
	if c.ownerless(claim) {
		claim.DeletionTimestamp = ptr.To(metav1.Now().Rfc3339Copy())
		return c.Store.Update(claims, claim)
	}
	before := claim.DeepCopy()
	if !slices.Contains(claim.Finalizers, protectClaim) {
		claim.Finalizers = append(claim.Finalizers, protectClaim)
	}
	if claim.Spec.StorageClassName == nil && claim.Spec.VolumeName == "" {
		if class := c.defaultClass(); class != nil {
			claim.Spec.StorageClassName = ptr.To(class.Name)
		}
	}
	if claim.Status.Phase == "" {
		claim.Status.Phase = corev1.ClaimPending
	}
	if claim.Annotations[annBindCompleted] != "" {
		return c.bound(claim, before)
	}
	d := decide(claim, world{volumes: c.seen.volumes, class: c.class(claim), used: used, node: c.seen.node})
	if d.provision {
		d.bind, d.note = c.provision(claim)
	}
	if d.bind != nil {
		if err := c.bind(claim, d.bind); err != nil {
			return err
		}
	}
	c.tell(ref("v1", "PersistentVolumeClaim", claim), d.note)
	return update(c.Store, claims, claim, before)
}

// bound looks whether a bound claim still has its volume.
func (c *controller) bound(claim, before *corev1.PersistentVolumeClaim) error {
	i := slices.IndexFunc(c.seen.volumes, func(pv *corev1.PersistentVolume) bool { return pv.Name == claim.Spec.VolumeName })
	switch {
	case i < 0:
		claim.Status.Phase = corev1.ClaimLost
		c.tell(ref("v1", "PersistentVolumeClaim", claim), warning("ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!"))
	case c.seen.volumes[i].Spec.ClaimRef == nil || c.seen.volumes[i].Spec.ClaimRef.UID != claim.UID:
		claim.Status.Phase = corev1.ClaimLost
		c.tell(ref("v1", "PersistentVolumeClaim", claim), warning("ClaimMisbound", "Two claims are bound to the same volume, this one is bound incorrectly"))
	default:
		pv := c.seen.volumes[i]
		if wantsMore(claim, pv, c.class(claim)) {
			note, err := c.grow(claim, pv)
			if err != nil {
				return err
			}
			c.tell(ref("v1", "PersistentVolumeClaim", claim), note)
		}
		claim.Status.Phase, claim.Status.AccessModes, claim.Status.Capacity = corev1.ClaimBound, pv.Spec.AccessModes, pv.Spec.Capacity
	}
	return update(c.Store, claims, claim, before)
}

// bind writes the volume's side; the caller writes the claim's. Between the two
// nothing is lost: the volume names its claim.
func (c *controller) bind(claim *corev1.PersistentVolumeClaim, pv *corev1.PersistentVolume) error {
	before := pv.DeepCopy()
	if pv.Spec.ClaimRef == nil {
		setAnnotation(pv, annBound, "yes")
	}
	r := ref("v1", "PersistentVolumeClaim", claim)
	pv.Spec.ClaimRef = &r
	setPhase(pv, corev1.VolumeBound)
	if err := update(c.Store, volumes, pv, before); err != nil {
		return err
	}
	if claim.Spec.VolumeName == "" {
		setAnnotation(claim, annBound, "yes")
	}
	setAnnotation(claim, annBindCompleted, "yes")
	claim.Spec.VolumeName = pv.Name
	claim.Status.Phase, claim.Status.AccessModes, claim.Status.Capacity = corev1.ClaimBound, pv.Spec.AccessModes, pv.Spec.Capacity
	return nil
}

// used tells whether a Pod refers to the claim.
func (c *controller) used(claim *corev1.PersistentVolumeClaim) bool {
	return slices.ContainsFunc(c.seen.pods, func(p *corev1.Pod) bool {
		return p.Namespace == claim.Namespace && p.Spec.NodeName != "" && slices.ContainsFunc(p.Spec.Volumes, func(v corev1.Volume) bool {
			return claimOf(p, &v) == claim.Name && (v.Ephemeral == nil || metav1.IsControlledBy(claim, p))
		})
	})
}

func (c *controller) class(claim *corev1.PersistentVolumeClaim) *storagev1.StorageClass {
	for _, class := range c.seen.classes {
		if class.Name == ptr.Deref(claim.Spec.StorageClassName, "") {
			return class
		}
	}
	return nil
}

// tell says a thing once.
func (c *controller) tell(r corev1.ObjectReference, n note) {
	if n.reason == "" || c.told[r.UID] == n {
		return
	}
	c.told[r.UID] = n
	c.Tell(r, n.kind, n.reason, n.message)
}

// forget drops what was said of objects that are gone.
func (c *controller) forget() {
	there := make(map[types.UID]bool)
	for _, o := range c.seen.claims {
		there[o.UID] = true
	}
	for _, o := range c.seen.volumes {
		there[o.UID] = true
	}
	for _, o := range c.seen.pods {
		there[o.UID] = true
	}
	for uid := range c.told {
		if !there[uid] {
			delete(c.told, uid)
		}
	}
}
