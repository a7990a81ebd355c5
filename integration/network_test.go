// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"

	"github.com/minikubelet/minikubelet/network"
)

// serves is a script that answers with a text over HTTP at an address and port.
func serves(text, address string) string {
	return "mkdir /tmp/www; echo " + text + " >/tmp/www/index.html; exec httpd -f -p " + address + " -h /tmp/www"
}

// fetch is a script that asks until it gets an answer, for some seconds.
func fetch(url string) string {
	return "for i in 1 2 3 4 5 6 7 8 9 10; do wget -q -O - " + url + " 2>/dev/null && break; sleep 0.5; done"
}

// bridgeAddress is the node's own address in its Pod network.
func (n *node) bridgeAddress() string {
	n.t.Helper()
	link, err := netlink.LinkByName(network.BridgeName(n.instance()))
	if err != nil {
		n.t.Fatal(err)
	}
	addrs, err := netlink.AddrList(link, netlink.FAMILY_V4)
	if err != nil || len(addrs) == 0 {
		n.t.Fatalf("the bridge has no address: %v", err)
	}
	return addrs[0].IP.String()
}

// TestPodNetwork lets Pods talk to each other, to the host and to themselves.
func TestPodNetwork(t *testing.T) {
	n := startNode(t)
	gateway := n.bridgeAddress()
	listener, err := net.Listen("tcp", net.JoinHostPort(gateway, "0"))
	if err != nil {
		t.Fatal(err)
	}
	host := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		peer, _, _ := net.SplitHostPort(r.RemoteAddr)
		fmt.Fprintln(w, "host sees "+peer)
	})}
	go func() { _ = host.Serve(listener) }()
	defer host.Close()

	n.apply("server.yaml", podOf("server", apps(sh("web", serves("server", "8080")), sh("private", serves("private-of-server", "127.0.0.1:9090")))))
	server := n.awaitRunning("server")
	ip := server.Status.PodIP
	n.apply("client.yaml", podOf("client", "restartPolicy: Never", diskV,
		inits(sh("init", fetch("http://"+ip+":8080/")+"; echo end")),
		apps(
			sh("web", serves("own-neighbour", "127.0.0.1:9090")+" & until test -e /v/done; do sleep 0.1; done", onV),
			sh("app", strings.Join([]string{
				fetch("http://" + ip + ":8080/"),
				fetch("http://" + listener.Addr().String() + "/"),
				fetch("http://127.0.0.1:9090/"),
				"wget -q -O - http://" + ip + ":9090/ 2>/dev/null || echo private is not to be reached",
				"ip route | grep '^default'", "hostname -i", "touch /v/done", "echo end"}, "; "), onV))))
	client := n.awaitPhase("client", corev1.PodSucceeded)
	own := client.Status.PodIP
	if got := n.said(client, "init"); !slices.Equal(got, []string{"server"}) {
		t.Errorf("the init container got %q", got)
	}
	want := []string{"server", "host sees " + own, "own-neighbour", "private is not to be reached", "default via " + gateway + " dev eth0", own}
	got := n.said(client, "app")
	for i := range got {
		got[i] = strings.TrimSpace(got[i])
	}
	if !slices.Equal(got, want) {
		t.Errorf("the client got %q, want %q", got, want)
	}
	if own == ip || own == "" || client.Status.HostIP == "" || len(client.Status.PodIPs) != 1 {
		t.Errorf("addresses of the Pods: %q and %q, status %+v", own, ip, client.Status)
	}
	if body := get("http://" + ip + ":8080/"); body != "server" {
		t.Errorf("the host gets %q from the Pod", body)
	}
}

// get asks once and gives the body or the error.
func get(url string) string {
	client := http.Client{Timeout: 10 * time.Second}
	r, err := client.Get(url)
	if err != nil {
		return err.Error()
	}
	defer r.Body.Close()
	body, _ := io.ReadAll(r.Body)
	return strings.TrimSpace(string(body))
}

// TestNamesInPods shows the files by which a Pod knows itself and others.
func TestNamesInPods(t *testing.T) {
	n := startNode(t)
	const show = "hostname; cat /etc/hostname; grep -v '^#' /etc/hosts; echo; cat /etc/resolv.conf; echo end"
	n.apply("plain.yaml", podOf("plain", "restartPolicy: Never", apps(sh("app", show))))
	n.apply("named.yaml", podOf("named", "restartPolicy: Never", "hostname: box", "subdomain: rack",
		"hostAliases: [{ip: 192.0.2.7, hostnames: [seven, seven.example]}, {ip: 192.0.2.8, hostnames: [eight]}]",
		"dnsPolicy: None", "dnsConfig: {nameservers: [192.0.2.53], searches: [a.example, b.example], options: [{name: ndots, value: '2'}, {name: edns0}]}",
		apps(sh("app", show), sh("writer", "sleep 0.5; echo 192.0.2.9 nine >>/etc/hosts && grep -c nine /etc/hosts; echo end"))))
	n.apply("onhost.yaml", podOf("onhost", "restartPolicy: Never", "hostNetwork: true",
		"hostAliases: [{ip: 192.0.2.7, hostnames: [seven]}]",
		apps(sh("app", show+"; ip -o link | grep -c "+network.BridgeName(n.instance())+": "))))

	plain := n.awaitPhase("plain", corev1.PodSucceeded)
	if got := n.said(plain, "app"); !slices.Equal(got[:2], []string{"plain-n1", "plain-n1"}) || !slices.Contains(got, plain.Status.PodIP+"\tplain-n1") {
		t.Errorf("a Pod without names sees %q", got)
	}
	named := n.awaitPhase("named", corev1.PodSucceeded)
	got := n.said(named, "app")
	for _, line := range []string{
		"box", "127.0.0.1\tlocalhost", named.Status.PodIP + "\tbox.rack.default.svc.cluster.local\tbox",
		"192.0.2.7\tseven\tseven.example", "192.0.2.8\teight",
	} {
		if !slices.Contains(got, line) {
			t.Errorf("%q is not in what the named Pod sees: %q", line, got)
		}
	}
	conf := got[slices.Index(got, "")+1:]
	for len(conf) > 3 {
		conf = conf[1:] // the empty line before the aliases
	}
	if want := []string{"search a.example b.example", "nameserver 192.0.2.53", "options ndots:2 edns0"}; !slices.Equal(conf, want) {
		t.Errorf("resolv.conf %q, want %q", conf, want)
	}
	hostname, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	onhost := n.awaitPhase("onhost", corev1.PodSucceeded)
	got = n.awaitLine(onhost, "app", 0, "1")
	if got[0] != hostname || !slices.Contains(got, "192.0.2.7\tseven") {
		t.Errorf("a Pod on the host's network sees %q; want the host's name %s", got, hostname)
	}
	if onhost.Status.PodIP != onhost.Status.HostIP {
		t.Errorf("address %s of a Pod on the host's network, host %s", onhost.Status.PodIP, onhost.Status.HostIP)
	}
}

// TestHostPorts maps ports of the host, and refuses one that is taken until it is
// free.
func TestHostPorts(t *testing.T) {
	n := startNode(t)
	port, taken := freePort(t), 0
	blocker, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer blocker.Close()
	taken = blocker.Addr().(*net.TCPAddr).Port
	mapped := func(text string, port int) string {
		return apps(sh("web", serves(text, "8080"), fmt.Sprintf("ports: [{containerPort: 8080, hostPort: %d}]", port)))
	}
	n.apply("first.yaml", podOf("first", mapped("first", port)))
	n.awaitRunning("first")
	url := "http://127.0.0.1:" + strconv.Itoa(port) + "/"
	n.eventually("the mapped port answers", func() bool { return get(url) == "first" }, func() string { return get(url) })

	n.apply("second.yaml", podOf("second", mapped("second", taken)))
	event := n.awaitEvent("second", "FailedCreatePodSandBox: ")
	if !strings.Contains(event, strconv.Itoa(taken)) || !strings.Contains(event, "process "+strconv.Itoa(os.Getpid())) {
		t.Errorf("event %q names not the port %d and its holder, process %d", event, taken, os.Getpid())
	}
	if pod := n.pods()["second"]; pod.Status.Phase != corev1.PodPending || !waits(&pod, "web", "ContainerCreating") {
		t.Errorf("the Pod whose port is taken: %+v", pod.Status)
	}
	_ = blocker.Close()
	n.awaitRunning("second")
	url = "http://127.0.0.1:" + strconv.Itoa(taken) + "/"
	n.eventually("the port is the second Pod's", func() bool { return get(url) == "second" }, func() string { return get(url) })
}

// TestPortsOfOtherPods: a Pod that wants another one's port of the host fails, wherever it
// comes from, and stays so; who has the port keeps it, also with the next agent.
func TestPortsOfOtherPods(t *testing.T) {
	kubectlPath(t)
	n := newNode(t)
	port := freePort(t)
	wants := func(more string) string {
		return apps(sh("web", forever, fmt.Sprintf("ports: [{containerPort: %d, hostPort: %d%s}]", port, port, more)))
	}
	n.apply("a.yaml", podOf("a", wants("")))
	n.apply("b.yaml", podOf("b", wants("")))
	n.start()
	n.awaitRunning("a")
	n.must(podOf("c", wants("")))
	n.must(podOf("local", wants(", hostIP: 127.0.0.1")))
	n.must(podOf("on-host", "hostNetwork: true", wants("")))
	n.must(podOf("udp", wants(", protocol: UDP")))
	refused := []string{"b", "c", "local", "on-host"}
	for _, name := range refused {
		p := n.awaitPhase(name, corev1.PodFailed)
		if want := "Pod was rejected: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"; p.Status.Reason != "NodePorts" || p.Status.Message != want {
			t.Errorf("%s: %s: %s", name, p.Status.Reason, p.Status.Message)
		}
		n.awaitEvent(name, "NodePorts: Predicate NodePorts failed: ")
	}
	n.expect(`c 0/1 NodePorts 0 \w+`, "get", "pod", "c")
	before := map[string]corev1.Pod{"a": n.awaitRunning("a"), "udp": n.awaitRunning("udp")}
	n.kill()
	n.start()
	for name, old := range before {
		if p := n.awaitRunning(name); containerID(&p, "web") != containerID(&old, "web") {
			t.Errorf("%s was restarted", name)
		}
	}
	n.remove("a.yaml")
	n.awaitGone("a")
	for _, name := range refused {
		if p := n.pods()[name]; p.Status.Phase != corev1.PodFailed {
			t.Errorf("%s is %s", name, p.Status.Phase)
		}
	}
	n.must(podOf("d", wants("")))
	n.awaitRunning("d")
}
