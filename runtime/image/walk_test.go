// SPDX-License-Identifier: Apache-2.0

package image

import (
	"context"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/snapshots"
)

func walkDigests(into *[]string) content.WalkFunc {
	return func(info content.Info) error {
		*into = append(*into, info.Digest.String())
		return nil
	}
}

func walkKeys(into *[]string) snapshots.WalkFunc {
	return func(_ context.Context, info snapshots.Info) error {
		*into = append(*into, info.Kind.String()+" "+info.Name)
		return nil
	}
}
