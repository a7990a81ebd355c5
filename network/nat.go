// SPDX-License-Identifier: Apache-2.0

package network

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// mapping is a hostPort of a Pod as an element of an nftables map.
type mapping struct {
	HostPort
	IP  netip.Addr // of the Pod
	UID string     // in the element's comment
}

// nat is an instance's nftables table. The rules are fixed and look hostPorts up
// in maps, so that adding or removing one is an element operation. Each change
// is one transaction. Not safe for concurrent use.
type nat struct {
	ns       *os.File
	name     string
	bridge   string
	subnet   netip.Prefix
	mappings []mapping // mirrors the kernel's
}

// The maps: keyed by protocol and port, for hostPorts on every address, and by
// address, protocol and port.
const (
	anyMap     = "hostports"
	addressMap = "hostports-by-address"
)

// openNAT replaces the table by a fresh one in a single transaction, with the
// mappings of the old one that keep wants.
func openNAT(ns *os.File, name, bridge string, subnet netip.Prefix, keep func(mapping) bool) (*nat, error) {
	t := &nat{ns: ns, name: name, bridge: bridge, subnet: subnet}
	old, err := t.read(name)
	if err != nil {
		return nil, err
	}
	for _, m := range old {
		if keep(m) {
			t.mappings = append(t.mappings, m)
		}
	}
	return t, t.rebuild()
}

// conn opens a connection for one transaction or query: errors of one must not
// show up in the next.
func (t *nat) conn() (*nftables.Conn, error) {
	return nftables.New(nftables.WithNetNSFd(int(t.ns.Fd())))
}

func (t *nat) table() *nftables.Table {
	return &nftables.Table{Family: nftables.TableFamilyIPv4, Name: t.name}
}

// rebuild replaces the table, whatever it holds, by the rules and the mappings
// that are known.
func (t *nat) rebuild() error {
	c, err := t.conn()
	if err != nil {
		return err
	}
	c.AddTable(t.table()) // so that deleting it never fails
	c.DelTable(t.table())
	table := c.AddTable(t.table())
	sets := newMaps(table)
	for _, s := range []*nftables.Set{sets.any, sets.address} {
		if err := c.AddSet(s, elements(s, t.mappings)); err != nil {
			return err
		}
	}
	t.addRules(c, table, sets)
	if err := c.Flush(); err != nil {
		return fmt.Errorf("nftables table %s: %w", t.name, err)
	}
	return nil
}

// present reports whether the table exists: "nft flush ruleset" and the restart
// of a firewall service remove it.
func (t *nat) present() (bool, error) {
	c, err := t.conn()
	if err != nil {
		return false, err
	}
	_, err = c.ListTableOfFamily(t.name, nftables.TableFamilyIPv4)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	return err == nil, err
}

// change removes and adds mappings in one transaction.
func (t *nat) change(remove, add []mapping) error {
	if len(remove) == 0 && len(add) == 0 {
		return nil
	}
	c, err := t.conn()
	if err != nil {
		return err
	}
	sets := newMaps(t.table())
	for _, s := range []*nftables.Set{sets.any, sets.address} {
		if e := elements(s, remove); len(e) > 0 {
			if err := c.SetDeleteElements(s, e); err != nil {
				return err
			}
		}
		if e := elements(s, add); len(e) > 0 {
			if err := c.SetAddElements(s, e); err != nil {
				return err
			}
		}
	}
	next := without(t.mappings, remove)
	next = append(next, add...)
	err = c.Flush()
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EEXIST) {
		// Someone else changed the table: make it what it should be.
		before := t.mappings
		t.mappings = next
		if err := t.rebuild(); err != nil {
			t.mappings = before
			return err
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("nftables table %s: change hostPorts: %w", t.name, err)
	}
	t.mappings = next
	return nil
}

func without(all, remove []mapping) []mapping {
	var out []mapping
next:
	for _, m := range all {
		for _, r := range remove {
			if m == r {
				continue next
			}
		}
		out = append(out, m)
	}
	return out
}

// read returns the mappings of a table of ours or of another instance; none
// when there is no such table.
func (t *nat) read(name string) ([]mapping, error) {
	c, err := t.conn()
	if err != nil {
		return nil, err
	}
	if _, err := c.ListTableOfFamily(name, nftables.TableFamilyIPv4); err != nil {
		if errors.Is(err, unix.ENOENT) {
			return nil, nil
		}
		return nil, fmt.Errorf("nftables: %w", err)
	}
	sets := newMaps(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: name})
	var out []mapping
	for _, s := range []*nftables.Set{sets.any, sets.address} {
		elems, err := c.GetSetElements(s)
		if errors.Is(err, unix.ENOENT) {
			continue // a table of another version
		}
		if err != nil {
			return nil, fmt.Errorf("nftables table %s: map %s: %w", name, s.Name, err)
		}
		for _, e := range elems {
			if m, ok := mappingOf(s, e); ok {
				out = append(out, m)
			}
		}
	}
	return out, nil
}

// others returns the mappings of the other instances on this host, by table.
func (t *nat) others() (map[string][]mapping, error) {
	c, err := t.conn()
	if err != nil {
		return nil, err
	}
	tables, err := c.ListTablesOfFamily(nftables.TableFamilyIPv4)
	if err != nil {
		return nil, fmt.Errorf("list nftables tables: %w", err)
	}
	out := map[string][]mapping{}
	for _, other := range tables {
		if other.Name == t.name || !strings.HasPrefix(other.Name, tablePrefix) {
			continue
		}
		if out[other.Name], err = t.read(other.Name); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// destroy removes the table; one that is gone is no error.
func (t *nat) destroy() error {
	c, err := t.conn()
	if err != nil {
		return err
	}
	c.AddTable(t.table())
	c.DelTable(t.table())
	if err := c.Flush(); err != nil {
		return fmt.Errorf("remove nftables table %s: %w", t.name, err)
	}
	t.mappings = nil
	return nil
}

// droppingForwards names the tables of others that drop forwarded packets by
// default. Accepting a packet in a table of ours would not help: each base chain
// has its own verdict, and a drop in any of them is final.
func (t *nat) droppingForwards() ([]string, error) {
	c, err := t.conn()
	if err != nil {
		return nil, err
	}
	var out []string
	for _, family := range []nftables.TableFamily{nftables.TableFamilyIPv4, nftables.TableFamilyINet} {
		chains, err := c.ListChainsOfTableFamily(family)
		if err != nil {
			return nil, fmt.Errorf("list nftables chains: %w", err)
		}
		for _, ch := range chains {
			if ch.Hooknum != nil && *ch.Hooknum == *nftables.ChainHookForward && ch.Policy != nil && *ch.Policy == nftables.ChainPolicyDrop {
				kind := "ip"
				if family == nftables.TableFamilyINet {
					kind = "inet"
				}
				out = append(out, fmt.Sprintf("%s %s %s", kind, ch.Table.Name, ch.Name))
			}
		}
	}
	return out, nil
}
