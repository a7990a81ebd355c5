// SPDX-License-Identifier: Apache-2.0

package image

import (
	"fmt"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
)

// maxNameBytes bounds a reference before it is parsed. The longest valid one has a repository of 255 bytes, a tag of 128 and
// a digest; containerd's own limit for keys is of the same order.
const maxNameBytes = 1024

// InvalidNameError says that a text is no image reference. Kubernetes shows it as the waiting reason InvalidImageName.
type InvalidNameError struct {
	Name   string
	Reason string
}

func (e *InvalidNameError) Error() string {
	return fmt.Sprintf("invalid image name %q: %s", shorten(e.Name), e.Reason)
}

// Normalise returns the full name of an image as Kubernetes and containerd's CRI form it: a missing registry is docker.io, a
// missing organisation there is library, a missing tag is latest, and a reference with both a tag and a digest loses its tag.
// The error is always an *InvalidNameError. Normalise is idempotent.
func Normalise(ref string) (string, error) {
	if ref == "" {
		return "", &InvalidNameError{Name: ref, Reason: "it is empty"}
	}
	if len(ref) > maxNameBytes {
		return "", &InvalidNameError{Name: ref, Reason: fmt.Sprintf("it is longer than %d bytes", maxNameBytes)}
	}
	named, err := reference.ParseDockerRef(ref)
	if err != nil {
		return "", &InvalidNameError{Name: ref, Reason: err.Error()}
	}
	return named.String(), nil
}

// parsed splits a normalised name. Exactly one of tag and dgst is set.
func parsed(name string) (domain, repository, tag string, dgst digest.Digest, err error) {
	named, err := reference.ParseDockerRef(name)
	if err != nil {
		return "", "", "", "", &InvalidNameError{Name: name, Reason: err.Error()}
	}
	if d, ok := named.(reference.Digested); ok {
		dgst = d.Digest()
	} else if t, ok := named.(reference.Tagged); ok {
		tag = t.Tag()
	}
	return reference.Domain(named), named.Name(), tag, dgst, nil
}

// idOf recognises an image ID: sha256:<64 hex>, as container statuses show it.
func idOf(ref string) (digest.Digest, bool) {
	if !strings.HasPrefix(ref, "sha256:") {
		return "", false
	}
	d, err := digest.Parse(ref)
	return d, err == nil
}

func shorten(s string) string {
	const most = 120
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
