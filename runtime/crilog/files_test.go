// SPDX-License-Identifier: Apache-2.0

package crilog

import "testing"

// A listing that is read while files are renamed may lack one; a second listing
// shows it.
func TestListingThatMissedAFile(t *testing.T) {
	for _, c := range []struct {
		about        string
		names, again []string
		i            int
		want         bool
	}{
		{"nothing changed", []string{"a", "b", "log"}, []string{"a", "b", "log"}, 1, true},
		{"one was missed", []string{"a", "c", "log"}, []string{"a", "b", "c", "log"}, 1, false},
		{"one came after it", []string{"a", "b", "log"}, []string{"a", "b", "c", "log"}, 1, true},
		{"the one before was deleted", []string{"a", "b", "log"}, []string{"b", "log"}, 1, true},
		{"it was deleted", []string{"a", "b", "log"}, []string{"c", "log"}, 1, false},
		{"the first, and an older one was missed", []string{"b", "log"}, []string{"a", "b", "log"}, 0, false},
		{"the current file", []string{"a", "log"}, []string{"a", "log"}, 1, true},
		{"the current file was rotated", []string{"a", "log"}, []string{"a", "b", "log"}, 1, false},
	} {
		if got := follows(c.again, c.names, c.i); got != c.want {
			t.Errorf("%s: %v", c.about, got)
		}
	}
}
