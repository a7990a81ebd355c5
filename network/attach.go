// SPDX-License-Identifier: Apache-2.0

package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
)

// Request asks for a Pod's network.
type Request struct {
	UID       string
	Name      string     // namespace/name, for messages and ifalias; optional
	Netns     string     // path of the Pod's pinned network namespace
	HostPorts []HostPort // see HostPorts
}

// Attachment is a Pod's network as it is in the kernel.
type Attachment struct {
	UID       string
	Name      string // as in Request; empty for one found without it
	IP        netip.Addr
	Gateway   netip.Addr
	Subnet    netip.Prefix
	Interface string // the host end of the veth pair
}

// Attach gives the Pod eth0 with an address and a default route, brings its lo
// up and maps its hostPorts. It is idempotent: for a Pod that is attached it
// repairs what is missing and returns the same address; what a crash left
// half-made is made anew. When it fails, nothing that it made stays.
//
// Errors wrap ErrPortTaken when a hostPort is in use and ErrNoAddress when the
// subnet is full.
func (n *Network) Attach(ctx context.Context, r Request) (Attachment, error) {
	if err := ctx.Err(); err != nil {
		return Attachment{}, err
	}
	if err := checkUID(r.UID); err != nil {
		return Attachment{}, err
	}
	want, err := normalPorts(r.HostPorts)
	if err != nil {
		return Attachment{}, fmt.Errorf("network of pod %s: %w", r.label(), err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.repairNAT()
	if err := n.checkPorts(r, want); err != nil {
		return Attachment{}, fmt.Errorf("network of pod %s: %w", r.label(), err)
	}
	a, made, err := n.attachVeth(r)
	if err == nil {
		err = n.mapPorts(a, want)
	}
	if err == nil {
		return a, nil
	}
	err = fmt.Errorf("network of pod %s: %w", r.label(), err)
	if made {
		err = errors.Join(err, n.undo(r.UID))
	}
	return Attachment{}, err
}

func (r Request) label() string {
	if r.Name != "" {
		return r.Name
	}
	return r.UID
}

// attachVeth finds the Pod's veth or makes it; made says that something may have
// been made, also when it fails.
func (n *Network) attachVeth(r Request) (a Attachment, made bool, err error) {
	pod, err := openNetns(r.Netns)
	if err != nil {
		return a, false, err
	}
	defer pod.Close()
	if r.Netns == "" || sameFile(pod, n.host) {
		return a, false, errors.New("the Pod has no network namespace of its own: with hostNetwork there is nothing to attach")
	}
	h, err := routeHandle(pod)
	if err != nil {
		return a, false, fmt.Errorf("netlink in the Pod's namespace: %w", err)
	}
	defer h.Close()

	name := vethName(n.cfg.Bridge, r.UID)
	link, err := n.nl.LinkByName(name)
	if err != nil && !isNoLink(err) {
		return a, false, fmt.Errorf("look for veth %s: %w", name, err)
	}
	if err == nil {
		al, ok := parseAlias(link.Attrs().Alias)
		if ok && al.UID == r.UID && n.subnet.Contains(al.IP) && n.complete(link, h, al.IP) {
			return n.seen(alias{r.UID, al.IP, al.Name}, name), false, nil
		}
		if err := n.deleteLink(name); err != nil {
			return a, false, err
		}
	}
	a, err = n.makeVeth(r, pod, h, name)
	return a, true, err
}

// makeVeth makes the pair with the Pod's earlier address, if it has one, or the
// next free one.
func (n *Network) makeVeth(r Request, pod *os.File, h *netlink.Handle, name string) (Attachment, error) {
	ip, err := n.address(r.UID)
	if err != nil {
		return Attachment{}, err
	}
	al := alias{UID: r.UID, IP: ip, Name: r.Name}
	if err := n.addVeth(name, pod, macOf(ip)); err != nil {
		n.pool.release(r.UID)
		return Attachment{}, err
	}
	link, err := n.nl.LinkByName(name)
	if err != nil {
		return Attachment{}, fmt.Errorf("look for veth %s: %w", name, err)
	}
	if err := n.hostEnd(link, al); err != nil {
		return Attachment{}, err
	}
	// Known from here on, so that a failure below gives the address back.
	a := n.seen(al, name)
	return a, n.podEnd(h, link.Attrs().ParentIndex, ip)
}

// address returns the address that the Pod has, or takes a free one, looking
// again at what is in use before it says that there is none.
func (n *Network) address(uid string) (netip.Addr, error) {
	if a, ok := n.pods[uid]; ok {
		return a.IP, nil
	}
	ip, err := n.pool.take(uid)
	if errors.Is(err, ErrNoAddress) {
		if err := n.refresh(); err != nil {
			return netip.Addr{}, err
		}
		ip, err = n.pool.take(uid)
	}
	return ip, err
}

// seen notes that a veth exists.
func (n *Network) seen(al alias, name string) Attachment {
	a := Attachment{UID: al.UID, Name: al.Name, IP: al.IP, Gateway: n.pool.gateway(), Subnet: n.subnet, Interface: name}
	n.pods[al.UID] = a
	n.pool.used[al.IP] = al.UID
	return a
}

// refresh reads from the kernel which Pods are attached. Unlabelled veths of
// ours are what a crash left of an Attach; they hold no address.
func (n *Network) refresh() error {
	ports, err := n.ports()
	if err != nil {
		return err
	}
	n.pods = map[string]Attachment{}
	used := map[netip.Addr]string{}
	for _, p := range ports {
		if p.Alias.UID != "" && n.subnet.Contains(p.Alias.IP) {
			n.seen(p.Alias, p.Name)
			used[p.Alias.IP] = p.Alias.UID
		}
	}
	n.pool.reset(used)
	return nil
}

// Detach removes the Pod's hostPorts and its veth, and with it its address.
// Idempotent; safe for a Pod that was never attached.
func (n *Network) Detach(ctx context.Context, uid string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	n.mu.Lock()
	err := n.unmapPorts(uid)
	n.mu.Unlock()
	// Deleting an interface waits for the kernel's readers: tens of milliseconds
	// in which other Pods may attach.
	err = errors.Join(err, n.deleteLink(vethName(n.cfg.Bridge, uid)))
	if err != nil {
		return fmt.Errorf("detach pod %s: %w", uid, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.forget(uid)
	return nil
}

// undo takes back a failed Attach, the lock being held.
func (n *Network) undo(uid string) error {
	if err := errors.Join(n.unmapPorts(uid), n.deleteLink(vethName(n.cfg.Bridge, uid))); err != nil {
		return fmt.Errorf("undo: %w", err)
	}
	n.forget(uid)
	return nil
}

// forget gives the Pod's address back.
func (n *Network) forget(uid string) {
	delete(n.pods, uid)
	n.pool.release(uid)
}

// Attached lists the Pods that have a veth on the bridge now.
func (n *Network) Attached() ([]Attachment, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.refresh(); err != nil {
		return nil, err
	}
	out := make([]Attachment, 0, len(n.pods))
	for _, a := range n.pods {
		out = append(out, a)
	}
	return out, nil
}

// Sweep detaches every Pod whose UID keep does not hold, half-made veths and
// orphaned hostPorts included, and returns how many veths it removed.
func (n *Network) Sweep(ctx context.Context, keep map[string]bool) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.refresh(); err != nil {
		return 0, err
	}
	ports, err := n.ports()
	if err != nil {
		return 0, err
	}
	kept := map[string]bool{}
	for uid := range keep {
		kept[vethName(n.cfg.Bridge, uid)] = true
	}
	var errs []error
	removed := 0
	for _, p := range ports {
		if kept[p.Name] {
			continue
		}
		if err := n.deleteLink(p.Name); err != nil {
			errs = append(errs, err)
			continue
		}
		removed++
	}
	errs = append(errs, n.refresh(), n.dropOrphanPorts())
	return removed, errors.Join(errs...)
}

func sameFile(a, b *os.File) bool {
	x, err := a.Stat()
	if err != nil {
		return false
	}
	y, err := b.Stat()
	return err == nil && os.SameFile(x, y)
}
