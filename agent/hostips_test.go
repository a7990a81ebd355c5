// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"net/netip"
	"testing"
)

// TestHostAddress goes through what an edge node's address may do.
func TestHostAddress(t *testing.T) {
	var there string
	find := func() (netip.Addr, bool) {
		ip, err := netip.ParseAddr(there)
		return ip, err == nil
	}
	h := newHostAddress(find)
	for _, step := range []struct {
		what, there, want string
		changed           bool
	}{
		{"DHCP has not answered", "", "127.0.0.1", false},
		{"it has", "192.0.2.7", "192.0.2.7", true},
		{"news of something else", "192.0.2.7", "192.0.2.7", false},
		{"the lease is over", "", "192.0.2.7", false},
		{"the same again", "192.0.2.7", "192.0.2.7", false},
		{"another lease", "192.0.2.8", "192.0.2.8", true},
	} {
		there = step.there
		if ips := h.ips(); len(ips) != 1 || ips[0] != step.want {
			t.Errorf("%s: %v, want %s", step.what, ips, step.want)
		}
		if now, changed := h.changed(); now.String() != step.want || changed != step.changed {
			t.Errorf("%s: told %v, changed %v; want %s, %v", step.what, now, changed, step.want, step.changed)
		}
	}
	h = newHostAddress(find)
	if now, changed := h.changed(); changed {
		t.Errorf("%v was there from the beginning and counts as a change", now)
	}
}
