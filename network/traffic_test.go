// SPDX-License-Identifier: Apache-2.0

package network

import (
	"testing"
)

func TestTrafficIsCountedFromThePodsSide(t *testing.T) {
	host, _ := newHost(t)
	n := openTest(t, host, Config{})
	a, b := attach(t, n, "pod-a"), attach(t, n, "pod-b")
	serve(t, host, "host", "0.0.0.0:80")
	wantAnswer(t, a.netnsT, "tcp4", join(n.Gateway(), 80), "host "+a.IP.String())
	traffic, err := n.Traffic()
	must(t, err)
	if len(traffic.Pods) != 2 || traffic.Default != "uplink" || len(traffic.Host) != 1 || traffic.Host[0].Name != "uplink" {
		t.Errorf("interfaces: %+v", traffic)
	}
	// What the kernel counts inside must be what is told of the outside.
	for _, p := range []struct {
		uid string
		ns  netnsT
	}{{"pod-a", a.netnsT}, {"pod-b", b.netnsT}} {
		eth, err := p.ns.handle(t).LinkByName(podInterface)
		must(t, err)
		got, want := traffic.Pods[p.uid], countersOf(eth.Attrs())
		if got.Name != want.Name || got.RxBytes > want.RxBytes || got.TxBytes > want.TxBytes {
			t.Errorf("%s: got %+v, inside there is %+v", p.uid, got, want)
		}
	}
	if p := traffic.Pods["pod-a"]; p.TxPackets < 3 || p.RxPackets < 2 || p.TxBytes == 0 || p.RxBytes == 0 {
		t.Errorf("after a request: %+v", p)
	}
}
