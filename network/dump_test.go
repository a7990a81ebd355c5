// SPDX-License-Identifier: Apache-2.0

package network

import (
	"errors"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
)

func TestInterruptedListsAreAskedForAgain(t *testing.T) {
	failure := errors.New("no such device")
	for name, test := range map[string]struct {
		answers []error
		asked   int
		err     error
	}{
		"at once":       {[]error{nil}, 1, nil},
		"interrupted":   {[]error{netlink.ErrDumpInterrupted, netlink.ErrDumpInterrupted, nil}, 3, nil},
		"another error": {[]error{netlink.ErrDumpInterrupted, failure}, 2, failure},
		"always":        {slices.Repeat([]error{netlink.ErrDumpInterrupted}, dumpTries), dumpTries, netlink.ErrDumpInterrupted},
	} {
		asked := 0
		all, err := whole(func() ([]int, error) {
			asked++
			return []int{asked}, test.answers[asked-1]
		})
		if asked != test.asked || !errors.Is(err, test.err) || len(all) != 1 || all[0] != asked {
			t.Errorf("%s: %v, %v after %d questions", name, all, err, asked)
		}
	}
}
