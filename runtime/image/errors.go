// SPDX-License-Identifier: Apache-2.0

package image

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	remoteerrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/containerd/errdefs"
)

// What can go wrong with an image, for errors.Is. The texts are made to be shown to people.
var (
	ErrNotFound     = errors.New("not found in the registry")
	ErrUnauthorized = errors.New("the registry denies access")
	ErrCorrupt      = errors.New("broken content")
	ErrUnreachable  = errors.New("the registry cannot be reached")
	ErrNoPlatform   = errors.New("no variant for this machine's platform")
	ErrTooLarge     = errors.New("too large")
	ErrNoSpace      = errors.New("no space left on the device")
	ErrNoName       = errors.New("the archive does not name its image")
)

// Error is the failure of an operation on one image or archive.
type Error struct {
	Subject string // the image's name or the archive's file
	Kind    error  // one of the package's Err values, or nil when none fits
	Err     error  // the cause
}

func (e *Error) Error() string {
	switch {
	case e.Kind == nil:
		return fmt.Sprintf("%s: %v", e.Subject, e.Err)
	case e.Err == nil || e.Err == e.Kind:
		return fmt.Sprintf("%s: %v", e.Subject, e.Kind)
	case strings.Contains(e.Err.Error(), e.Kind.Error()):
		return fmt.Sprintf("%s: %v", e.Subject, e.Err)
	}
	return fmt.Sprintf("%s: %v: %v", e.Subject, e.Kind, e.Err)
}

// Unwrap makes both the kind and the cause visible to errors.Is and errors.As.
func (e *Error) Unwrap() []error {
	var all []error
	for _, err := range []error{e.Kind, e.Err} {
		if err != nil {
			all = append(all, err)
		}
	}
	return all
}

// InUseError says that containers still need an image that was to be removed.
type InUseError struct {
	Name       string
	Containers []string // "namespace/pod container name (ID…)", sorted
}

func (e *InUseError) Error() string {
	return fmt.Sprintf("%s: in use by %s; delete the Pods first, or force the removal", e.Name, strings.Join(e.Containers, ", "))
}

// classify turns an error of containerd or of the network into one of ours.
func classify(subject string, err error) error {
	if err == nil {
		return nil
	}
	var known *Error
	if errors.As(err, &known) {
		return err
	}
	kind := kindOf(err)
	if kind == ErrNotFound && !errors.Is(err, ErrNotFound) {
		err = nil // the registry's own words only repeat it
	}
	var layer *layerError
	if errors.As(err, &layer) {
		err = layer
	}
	return &Error{Subject: subject, Kind: kind, Err: err}
}

// kindOf is nil for nil, for the end of a context, and for what fits none of our kinds.
func kindOf(err error) error {
	if err == nil {
		return nil
	}
	for _, kind := range []error{ErrNotFound, ErrUnauthorized, ErrCorrupt, ErrUnreachable, ErrNoPlatform, ErrTooLarge, ErrNoSpace, ErrNoName} {
		if errors.Is(err, kind) {
			return kind
		}
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return ErrNoSpace
	}
	if errors.Is(err, docker.ErrInvalidAuthorization) {
		return ErrUnauthorized
	}
	var status remoteerrors.ErrUnexpectedStatus
	if errors.As(err, &status) {
		return kindOfStatus(status.StatusCode)
	}
	if errdefs.IsNotFound(err) {
		return ErrNotFound
	}
	// containerd's content store has no error value of its own for a wrong digest or size.
	if errdefs.IsFailedPrecondition(err) || strings.Contains(err.Error(), "wrong diff id") {
		return ErrCorrupt
	}
	var netErr net.Error
	if errors.As(err, &netErr) || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) {
		return ErrUnreachable
	}
	return nil
}

func kindOfStatus(code int) error {
	switch {
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		return ErrUnauthorized
	case code == http.StatusNotFound:
		return ErrNotFound
	case code == http.StatusTooManyRequests || code >= 500:
		return ErrUnreachable
	}
	return nil
}
