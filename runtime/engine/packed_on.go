// SPDX-License-Identifier: Apache-2.0

//go:build packed

package engine

import "embed"

// packedFS holds what `make build` packed (hack/pack). It is never changed.
//
//go:embed packed/manifest.json packed/runc.zst packed/containerd-shim-minikubelet-v1.zst
var packedFS embed.FS

// packedBinaries describes the executables in this program.
func packedBinaries() (*packed, error) {
	manifest, err := packedFS.ReadFile("packed/manifest.json")
	if err != nil {
		return nil, err
	}
	return parsePacked(manifest, func(name string) ([]byte, error) {
		return packedFS.ReadFile("packed/" + name + ".zst")
	})
}
