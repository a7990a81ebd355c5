// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"

	"github.com/minikubelet/minikubelet/store"
)

func (s *Server) get(w http.ResponseWriter, r *http.Request, k *kind, req request) error {
	f, err := s.codecs.negotiate(r)
	if err != nil {
		return err
	}
	if _, err := s.known(r.URL.Query().Get("resourceVersion")); err != nil {
		return err
	}
	if k.plain(f) {
		return s.getRaw(w, r, k, req)
	}
	o, err := s.getObject(r.Context(), k, req)
	if err != nil {
		return k.failed(err, req.name)
	}
	return s.answerObject(w, r, k, f, http.StatusOK, o)
}

// getObject reads or measures one object, which is the caller's own.
func (s *Server) getObject(ctx context.Context, k *kind, req request) (store.Object, error) {
	if k.measure == nil {
		return s.load(k, req.namespace, req.name)
	}
	objects, err := k.measure(ctx, req.namespace)
	if err != nil {
		return nil, err
	}
	for _, o := range objects {
		if o.GetName() == req.name {
			return o, nil
		}
	}
	return nil, apierrors.NewNotFound(k.groupResource(), req.name)
}

// answerObject writes one object, which is the caller's own, in the form wanted.
func (s *Server) answerObject(w http.ResponseWriter, r *http.Request, k *kind, f form, code int, o store.Object) error {
	out, err := shape(k, f, o, tableOptions(r.URL.Query()))
	if err != nil {
		return err
	}
	return s.answer(w, r, f, code, out)
}

// known reads a resourceVersion: 0 for none or "0". One that the store has not
// reached yet is an error.
func (s *Server) known(text string) (uint64, error) {
	if text == "" {
		return 0, nil
	}
	version, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, apierrors.NewBadRequest("resourceVersion: Invalid value: " + strconv.Quote(text) + ": must be a number that the API gave out")
	}
	if now := s.cfg.Store.Revision(); version > now {
		return 0, tooLarge(version, now)
	}
	return version, nil
}

// tooLarge is Kubernetes' error for a version of the future.
func tooLarge(version, now uint64) error {
	err := apierrors.NewTimeoutError("Too large resource version: "+strconv.FormatUint(version, 10)+", current: "+strconv.FormatUint(now, 10), 1)
	err.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: metav1.CauseTypeResourceVersionTooLarge, Message: "Too large resource version"}}
	return err
}

func expired() error {
	return apierrors.NewResourceExpired("The resourceVersion for the provided list or watch is too old.")
}

// validateListOptions checks what a list or a watch asks for that depends on each
// other, with Kubernetes' own rules.
func validateListOptions(q url.Values, watch bool) error {
	o := internalversion.ListOptions{
		Watch: watch, ResourceVersion: q.Get("resourceVersion"), Continue: q.Get("continue"),
		ResourceVersionMatch: metav1.ResourceVersionMatch(q.Get("resourceVersionMatch")),
	}
	if text := q.Get("sendInitialEvents"); text != "" {
		o.SendInitialEvents = ptr.To(isTrue(text))
	}
	if errs := validation.ValidateListOptions(&o, true); len(errs) > 0 {
		return apierrors.NewInvalid(schema.GroupKind{Group: metav1.GroupName, Kind: "ListOptions"}, "", errs)
	}
	return nil
}

// page is what a list asks for.
type page struct {
	limit int
	at    uint64 // the revision to be shown, 0: the newest
	after string // the key before the first
}

// continueToken says where the next page begins, and of which revision.
type continueToken struct {
	Version uint64 `json:"rv"`
	After   string `json:"start"`
}

func (s *Server) page(q url.Values) (page, error) {
	var p page
	if err := validateListOptions(q, false); err != nil {
		return p, err
	}
	version, err := s.known(q.Get("resourceVersion"))
	if err != nil {
		return p, err
	}
	if text := q.Get("limit"); text != "" {
		if p.limit, err = strconv.Atoi(text); err != nil || p.limit < 0 {
			return p, apierrors.NewBadRequest("limit: Invalid value: " + strconv.Quote(text) + ": must be a number of at least 0")
		}
	}
	match := metav1.ResourceVersionMatch(q.Get("resourceVersionMatch"))
	if text := q.Get("continue"); text != "" {
		if version > 0 {
			return p, apierrors.NewBadRequest("specifying resource version is not allowed when using continue")
		}
		var t continueToken
		data, err := base64.RawURLEncoding.DecodeString(text)
		if err != nil || json.Unmarshal(data, &t) != nil || t.After == "" || t.Version == 0 || t.Version > s.cfg.Store.Revision() {
			return p, apierrors.NewBadRequest("continue key is not valid: start the list again")
		}
		p.at, p.after = t.Version, t.After
	}
	if match == metav1.ResourceVersionMatchExact || match == "" && version > 0 && p.limit > 0 {
		p.at = version
	}
	return p, nil
}

func (s *Server) list(w http.ResponseWriter, r *http.Request, k *kind, req request) error {
	f, err := s.codecs.negotiate(r)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	sel, err := k.selection(q, req)
	if err != nil {
		return err
	}
	p, err := s.page(q)
	if err != nil {
		return err
	}
	if k.plain(f) && sel.everything() {
		return s.listRaw(w, r, k, req.namespace, p)
	}
	if k.measure == nil && f.streams() {
		return s.listJSON(w, r, k, req.namespace, f, sel, p)
	}
	objects, listMeta, err := s.objects(r.Context(), k, req.namespace, sel, p)
	if err != nil {
		return err
	}
	out, err := shapeList(k, f, objects, listMeta, tableOptions(q))
	if err != nil {
		return err
	}
	return s.answer(w, r, f, http.StatusOK, out)
}

// objects reads a page of a kind, or measures all of it: what is in no store has no
// versions and no pages.
func (s *Server) objects(ctx context.Context, k *kind, namespace string, sel selection, p page) ([]store.Object, metav1.ListMeta, error) {
	if k.measure == nil {
		return s.collect(k, namespace, sel, p)
	}
	all, err := k.measure(ctx, namespace)
	if err != nil {
		return nil, metav1.ListMeta{}, err
	}
	return slices.DeleteFunc(all, func(o store.Object) bool { return !sel.matches(k, o) }), metav1.ListMeta{}, nil
}

// collect reads a page of objects, which are the caller's own.
func (s *Server) collect(k *kind, namespace string, sel selection, p page) (out []store.Object, m metav1.ListMeta, err error) {
	m, err = s.visit(k, namespace, sel, p, func(o store.Object) error {
		out = append(out, o)
		return nil
	})
	return out, m, err
}

// visit calls each with a page of objects, which are the callee's own.
func (s *Server) visit(k *kind, namespace string, sel selection, p page, each func(store.Object) error) (metav1.ListMeta, error) {
	var last string
	var n int
	var more int64
	revision, err := s.scan(k, namespace, p, func(key string, data store.Data) error {
		full := p.limit > 0 && n == p.limit
		if full && sel.everything() { // they are only counted
			more++
			return nil
		}
		o, err := k.decode(data)
		switch {
		case err != nil:
			return err
		case !sel.matches(k, o):
		case full:
			more++
			return errEnough
		default:
			n, last = n+1, key
			return each(o)
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return metav1.ListMeta{}, err
	}
	return pageMeta(revision, last, more, sel.everything())
}

// pageMeta is what a list says of itself: its revision and, when more objects come
// behind the last, how to go on and, if they have been counted, how many they are.
func pageMeta(revision uint64, last string, more int64, counted bool) (metav1.ListMeta, error) {
	m := metav1.ListMeta{ResourceVersion: strconv.FormatUint(revision, 10)}
	if more == 0 {
		return m, nil
	}
	data, err := json.Marshal(continueToken{Version: revision, After: last})
	m.Continue = base64.RawURLEncoding.EncodeToString(data)
	if counted {
		m.RemainingItemCount = &more
	}
	return m, err
}

// scan calls each with the objects of the page's revision, in the order of their
// keys, and returns the revision.
func (s *Server) scan(k *kind, namespace string, p page, each func(key string, data store.Data) error) (uint64, error) {
	if p.at == 0 {
		return s.cfg.Store.Scan(k.name, namespace, p.after, each)
	}
	err := s.cfg.Store.ScanAt(k.name, namespace, p.after, p.at, each)
	if errors.Is(err, store.ErrTooOld) {
		err = expired()
	}
	return p.at, err
}

// shapeList makes a list in the form wanted.
func shapeList(k *kind, f form, objects []store.Object, m metav1.ListMeta, t tableOption) (runtime.Object, error) {
	switch f.as {
	case "Table":
		return table(k, objects, m, t, true)
	case "PartialObjectMetadata", "PartialObjectMetadataList":
		out := &metav1.PartialObjectMetadataList{ListMeta: m, Items: make([]metav1.PartialObjectMetadata, 0, len(objects))}
		out.SetGroupVersionKind(metav1.SchemeGroupVersion.WithKind("PartialObjectMetadataList"))
		for _, o := range objects {
			out.Items = append(out.Items, *partial(o))
		}
		return out, nil
	}
	list := k.list()
	items := make([]runtime.Object, len(objects))
	for i, o := range objects {
		o.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{}) // a typed list's items have none
		items[i] = o
	}
	if err := meta.SetList(list, items); err != nil {
		return nil, err
	}
	acc, err := meta.ListAccessor(list)
	if err != nil {
		return nil, err
	}
	acc.SetResourceVersion(m.ResourceVersion)
	acc.SetContinue(m.Continue)
	acc.SetRemainingItemCount(m.RemainingItemCount)
	list.GetObjectKind().SetGroupVersionKind(k.groupVersion().WithKind(k.kind + "List"))
	return list, nil
}
