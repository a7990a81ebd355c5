// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// onHost runs f in the network namespace that the daemon has for its host's.
func (n *node) onHost(f func() error) {
	n.t.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and ends with the goroutine: it does not come home
		ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", n.daemon.Process.Pid))
		if err != nil {
			done <- err
			return
		}
		defer ns.Close()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	if err := <-done; err != nil {
		n.t.Fatal(err)
	}
}

// uplink gives the host an interface with an address and the default route.
func uplink(name, address string, metric int) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	link := &netlink.Bridge{LinkAttrs: attrs}
	if err := netlink.LinkAdd(link); err != nil {
		return err
	}
	addr, err := netlink.ParseAddr(address)
	if err != nil {
		return err
	}
	if err := netlink.AddrAdd(link, addr); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return err
	}
	everywhere := &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}
	return netlink.RouteAdd(&netlink.Route{LinkIndex: link.Index, Dst: everywhere, Scope: netlink.SCOPE_LINK, Priority: metric})
}

// awaitHostIP waits until all that shows the node's address shows this one.
func (n *node) awaitHostIP(want string) {
	n.t.Helper()
	n.awaitPod("own", "its node's address is "+want, func(p *corev1.Pod) bool {
		return p.Status.HostIP == want && len(p.Status.HostIPs) == 1 && p.Status.HostIPs[0].IP == want && p.Status.PodIP != want
	})
	n.awaitPod("shared", "its address is "+want, func(p *corev1.Pod) bool {
		return p.Status.HostIP == want && p.Status.PodIP == want
	})
	n.eventually("the Node's address is "+want, func() bool {
		var node corev1.Node
		if err := n.get("/api/v1/nodes/"+nodeName, &node); err != nil {
			n.t.Fatal(err)
		}
		for _, a := range node.Status.Addresses {
			if a.Type == corev1.NodeInternalIP {
				return a.Address == want
			}
		}
		return false
	})
	n.eventually("the certificate is for "+want, func() bool {
		data, err := os.ReadFile(n.path("data/pki/server.pem"))
		if err != nil {
			n.t.Fatal(err)
		}
		pair, err := tls.X509KeyPair(data, data)
		if err != nil {
			n.t.Fatal(err)
		}
		return pair.Leaf.VerifyHostname(want) == nil
	})
}

// TestAddressComesLate starts a node before its machine has an address, as DHCP makes it
// happen, and then gives it one, and another one.
func TestAddressComesLate(t *testing.T) {
	n := newNode(t)
	n.ownNetns = true
	config := n.path("config.yaml")
	if err := os.WriteFile(config, []byte("listen: 0.0.0.0:0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	n.flags = append(n.flags, "--config", config)
	n.start()
	const manifest = `{apiVersion: v1, kind: Pod, metadata: {name: %s}, spec: {terminationGracePeriodSeconds: 0, hostNetwork: %v, containers: [
		{name: c, image: busybox, imagePullPolicy: Never, command: [sh, -c, "echo $HOST; exec sleep 1000"],
		 env: [{name: HOST, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}]}]}}`
	for name, shared := range map[string]bool{"own": false, "shared": true} {
		n.apply(name+".yaml", fmt.Sprintf(manifest, name, shared))
		n.awaitPhase(name, corev1.PodRunning)
	}
	n.awaitHostIP("127.0.0.1")

	n.onHost(func() error { return uplink("up0", "198.51.100.2/24", 200) })
	n.awaitHostIP("198.51.100.2")
	n.apply("new.yaml", fmt.Sprintf(manifest, "new", false))
	pod := n.awaitPhase("new", corev1.PodRunning)
	n.eventually("a new container knows the address", func() bool {
		return strings.Join(n.log(pod, "c", 0), " ") == "198.51.100.2"
	})

	n.onHost(func() error { return uplink("up1", "203.0.113.2/24", 100) })
	n.awaitHostIP("203.0.113.2")
}
