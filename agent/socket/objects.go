// SPDX-License-Identifier: Apache-2.0

package socket

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// followAgain is how long Follow waits before it asks an agent again that could not
// be asked.
const followAgain = 200 * time.Millisecond

// path is that of an object, or of a collection. A resource outside of the core group
// is called as kubectl has it, like storageclasses.storage.k8s.io, or with a version
// that is not v1, like clustertrustbundles.v1beta1.certificates.k8s.io.
func path(resource, namespace, name string) string {
	p := "/api/v1/"
	resource, group, _ := strings.Cut(resource, ".")
	if rest, beta := strings.CutPrefix(group, "v1beta1."); beta {
		p = "/apis/" + rest + "/v1beta1/"
	} else if group != "" {
		p = "/apis/" + group + "/v1/"
	}
	if namespace != "" {
		p += "namespaces/" + url.PathEscape(namespace) + "/"
	}
	if p += resource; name != "" {
		p += "/" + url.PathEscape(name)
	}
	return p
}

// Get reads an object; an empty namespace is for kinds without.
func (c *Client) Get(ctx context.Context, resource, namespace, name string, into any) error {
	return c.do(ctx, http.MethodGet, path(resource, namespace, name), nil, nil, into)
}

// Create makes an object and reads back what has become of it. Warnings are the
// API's.
func (c *Client) Create(ctx context.Context, resource, namespace string, object, into any) (warnings []string, err error) {
	header, err := c.exchange(ctx, http.MethodPost, path(resource, namespace, ""), url.Values{"fieldValidation": {metav1.FieldValidationStrict}}, object, into)
	for _, w := range header.Values("Warning") {
		if text, ok := strings.CutPrefix(w, "299 - "); ok {
			if plain, err := strconv.Unquote(text); err == nil {
				text = plain
			}
			warnings = append(warnings, text)
		}
	}
	return warnings, err
}

// Delete asks for an object's end.
func (c *Client) Delete(ctx context.Context, resource, namespace, name string, o metav1.DeleteOptions) error {
	o.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "DeleteOptions"}
	return c.do(ctx, http.MethodDelete, path(resource, namespace, name), nil, o, nil)
}

// List reads the objects of a kind, those of a namespace or all, and the version of
// the list.
func List[T any](ctx context.Context, c *Client, resource, namespace string) (items []T, version string, err error) {
	var list struct {
		Metadata metav1.ListMeta `json:"metadata"`
		Items    []T             `json:"items"`
	}
	err = c.do(ctx, http.MethodGet, path(resource, namespace, ""), nil, nil, &list)
	return list.Items, list.Metadata.ResourceVersion, err
}

// Follower hears what becomes of the objects of a kind. Its functions are called by
// one goroutine.
type Follower[T any] struct {
	Changed func(kind watch.EventType, o *T)
	// Listed has all objects, after changes may have been missed.
	Listed func(items []T)
	// Lost says that the agent cannot be asked now. It is tried again.
	Lost func(err error)
}

// Follow follows all objects of a kind from a version of their list on, until ctx
// ends.
func Follow[T any](ctx context.Context, c *Client, resource, version string, f Follower[T]) {
	for {
		err := watchOnce(ctx, c, resource, version, f.Changed)
		for {
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				f.Lost(err)
				select {
				case <-ctx.Done():
					return
				case <-time.After(followAgain):
				}
			}
			var items []T
			if items, version, err = List[T](ctx, c, resource, ""); err == nil {
				f.Listed(items)
				break
			}
		}
	}
}

// watchOnce is nil when the watch has come to an end that is no failure.
func watchOnce[T any](ctx context.Context, c *Client, resource, version string, changed func(watch.EventType, *T)) error {
	r, err := c.open(ctx, http.MethodGet, path(resource, "", ""), url.Values{"watch": {"true"}, "resourceVersion": {version}}, nil)
	if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer r.Body.Close()
	for events := json.NewDecoder(r.Body); ; {
		var e struct {
			Type   watch.EventType `json:"type"`
			Object json.RawMessage `json:"object"`
		}
		if err := events.Decode(&e); err != nil {
			return nil // whether the agent is gone, the list that follows tells
		}
		switch e.Type {
		case watch.Added, watch.Modified, watch.Deleted:
			o := new(T)
			if err := json.Unmarshal(e.Object, o); err != nil {
				return fmt.Errorf("watch of %s: %w", resource, err)
			}
			changed(e.Type, o)
		case watch.Error: // changes were missed
			return nil
		}
	}
}
