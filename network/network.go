// SPDX-License-Identifier: Apache-2.0

package network

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
)

// Config says which instance's network to open and on which host.
type Config struct {
	// Name of the agent instance (the node name); bridge, subnet, table and veth
	// names derive from it. Empty is the default instance.
	Name string
	// Bridge overrides the derived bridge name; at most 15 bytes.
	Bridge string
	// Subnet for Pods, IPv4. The zero value keeps that of an existing bridge, or
	// derives one that the host has no route to.
	Subnet netip.Prefix
	// MTU of the Pods' interfaces, in bytes. 0 takes that of the interface of
	// the host's default route, or 1500 without one.
	MTU int
	// Netns is the path of the network namespace that plays the host; empty is
	// that of the process.
	Netns string
	// Logger gets what is repaired without being asked; nil is slog.Default().
	Logger *slog.Logger
}

// Fact is something that the machine offers or lacks.
type Fact struct {
	Name        string
	OK          bool
	Consequence string // of lacking it; empty when OK
	Remedy      string // empty when OK
}

// Network is one instance's network. Its methods are safe for concurrent use,
// with calls for the same Pod made one at a time.
type Network struct {
	cfg  Config
	log  *slog.Logger
	host *os.File
	nl   *netlink.Handle

	bridge   *netlink.Bridge
	subnet   netip.Prefix
	warnings []Fact

	mu   sync.Mutex
	pool *pool                 // addresses in use, by what was seen
	pods map[string]Attachment // by UID, by what was seen
	nat  *nat                  // nil without nftables
}

// Open makes the bridge, its address and the nftables table, turns on IPv4
// forwarding (net.ipv4.ip_forward, which stays on: others may rely on it by the
// time this instance is destroyed), and finds what an earlier agent attached.
// Everything is idempotent, and established connections survive it.
//
// Without nftables it opens all the same: Pods reach each other and the host,
// Warnings says what they lack, and Attach refuses hostPorts.
func Open(ctx context.Context, cfg Config) (*Network, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if cfg.Bridge == "" {
		cfg.Bridge = BridgeName(cfg.Name)
	}
	if len(cfg.Bridge) > maxInterfaceName || strings.ContainsAny(cfg.Bridge, "/ \t\n:") {
		return nil, fmt.Errorf("bridge name %q: want at most %d bytes without spaces, slashes and colons", cfg.Bridge, maxInterfaceName)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	host, err := openNetns(cfg.Netns)
	if err != nil {
		return nil, err
	}
	nl, err := routeHandle(host)
	if err != nil {
		host.Close()
		return nil, fmt.Errorf("routing netlink socket: %w", err)
	}
	n := &Network{cfg: cfg, log: cfg.Logger, host: host, nl: nl}
	if err := n.open(); err != nil {
		n.Close()
		return nil, fmt.Errorf("network %s: %w", cfg.Bridge, err)
	}
	return n, nil
}

func (n *Network) open() error {
	if err := n.openBridge(); err != nil {
		return err
	}
	n.pool = newPool(n.subnet)
	if err := n.refresh(); err != nil {
		return err
	}
	n.forwardIPv4()
	n.openNAT()
	n.warnForeignDrop()
	return nil
}

// openNAT makes the nftables table, keeping the mappings of Pods that are
// attached, or records what is lost without it.
func (n *Network) openNAT() {
	t, err := openNAT(n.host, tableName(n.cfg.Name), n.cfg.Bridge, n.subnet, n.isAttached)
	if err != nil {
		n.warnings = append(n.warnings, noNFTables(err))
		return
	}
	n.nat = t
}

// isAttached reports whether a mapping belongs to a Pod that still has its veth.
func (n *Network) isAttached(m mapping) bool {
	a, ok := n.pods[m.UID]
	return ok && a.IP == m.IP
}

// Close releases the sockets and leaves everything running for the next Open.
func (n *Network) Close() error {
	if n.nl != nil {
		n.nl.Close()
	}
	return n.host.Close()
}

// Subnet is the subnet of this instance's Pods.
func (n *Network) Subnet() netip.Prefix { return n.subnet }

// Gateway is the host's address on the bridge.
func (n *Network) Gateway() netip.Addr { return n.pool.gateway() }

// Bridge is the name of the bridge.
func (n *Network) Bridge() string { return n.cfg.Bridge }

// Warnings lists what this machine lacked when Open looked; each has OK false.
func (n *Network) Warnings() []Fact { return n.warnings }

// Destroy removes every veth, the bridge and the table of this instance. The
// Pods' namespaces stay, without a network. Idempotent; afterwards only Close
// may be called.
func (n *Network) Destroy(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	var errs []error
	if n.nat != nil {
		errs = append(errs, n.nat.destroy())
	}
	links, err := n.ports()
	errs = append(errs, err)
	for _, l := range links {
		errs = append(errs, n.deleteLink(l.Name))
	}
	errs = append(errs, n.deleteLink(n.cfg.Bridge))
	n.pods, n.pool = map[string]Attachment{}, newPool(n.subnet)
	return errors.Join(errs...)
}
