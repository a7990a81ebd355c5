// SPDX-License-Identifier: Apache-2.0

//go:build !packed

package engine

// packedBinaries returns nil: this program was built without the executables.
func packedBinaries() (*packed, error) { return nil, nil }
