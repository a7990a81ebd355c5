// SPDX-License-Identifier: Apache-2.0

package network

import (
	"errors"

	"github.com/vishvananda/netlink"
)

// dumpTries bounds how often a list is asked for again. Other programs change
// interfaces now and then, not all the time.
const dumpTries = 10

// whole asks the kernel for a list until no change has come in between
// (NLM_F_DUMP_INTR), which would leave entries out. What it gives at last with
// netlink.ErrDumpInterrupted may lack some.
func whole[T any](list func() ([]T, error)) (all []T, err error) {
	for range dumpTries {
		if all, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return all, err
}
