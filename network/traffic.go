// SPDX-License-Identifier: Apache-2.0

package network

import (
	"errors"
	"fmt"
	"strings"

	"github.com/vishvananda/netlink"
)

// Counters are what an interface has carried since it was made.
type Counters struct {
	Name                                    string
	RxBytes, RxPackets, RxErrors, RxDropped uint64
	TxBytes, TxPackets, TxErrors, TxDropped uint64
}

// Traffic is what the Pods and the machine have sent and received.
type Traffic struct {
	// Pods has each Pod's eth0, as the Pod sees it, by UID.
	Pods map[string]Counters
	// Host has the machine's own interfaces, without loopback, bridges and veths:
	// what these carry is counted with the Pods.
	Host []Counters
	// Default is the name of the interface with the host's default route; empty
	// without one.
	Default string
}

// Traffic reads the kernel's counters of all interfaces in one request. It enters
// no Pod's namespace: the host end of a veth counts the same, the other way round.
func (n *Network) Traffic() (Traffic, error) {
	links, err := whole(n.nl.LinkList)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) { // of which one reading may lack an interface
		return Traffic{}, fmt.Errorf("read the counters of the host's interfaces: %w", err)
	}
	t := Traffic{Pods: make(map[string]Counters)}
	uplink := 0
	if up := n.uplink(); up != nil {
		uplink = up.Attrs().Index
	}
	prefix := vethPrefix(n.cfg.Bridge)
	for _, l := range links {
		a := l.Attrs()
		if a.Statistics == nil {
			continue
		}
		c := countersOf(a)
		if a.Index == uplink {
			t.Default = a.Name
		}
		switch l.Type() {
		case "veth":
			if al, ok := parseAlias(a.Alias); ok && strings.HasPrefix(a.Name, prefix) {
				t.Pods[al.UID] = c.fromInside()
			} else if a.Index == uplink {
				t.Host = append(t.Host, c) // of a machine that is itself a container
			}
		case "bridge":
		default:
			if a.Index != loopbackIndex {
				t.Host = append(t.Host, c)
			}
		}
	}
	return t, nil
}

func countersOf(a *netlink.LinkAttrs) Counters {
	s := a.Statistics
	return Counters{
		Name:    a.Name,
		RxBytes: s.RxBytes, RxPackets: s.RxPackets, RxErrors: s.RxErrors, RxDropped: s.RxDropped,
		TxBytes: s.TxBytes, TxPackets: s.TxPackets, TxErrors: s.TxErrors, TxDropped: s.TxDropped,
	}
}

// fromInside turns the host end's counters into those of the Pod's end.
func (c Counters) fromInside() Counters {
	return Counters{
		Name:    podInterface,
		RxBytes: c.TxBytes, RxPackets: c.TxPackets, RxErrors: c.TxErrors, RxDropped: c.TxDropped,
		TxBytes: c.RxBytes, TxPackets: c.RxPackets, TxErrors: c.RxErrors, TxDropped: c.RxDropped,
	}
}
