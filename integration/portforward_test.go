// SPDX-License-Identifier: Apache-2.0

//lint:file-ignore SA1019 the dialers of client-go still have these types

package integration

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
)

const echoes = `
apiVersion: v1
kind: Pod
metadata: {name: echoes}
spec:
  terminationGracePeriodSeconds: 0
  hostNetwork: %[1]v
  containers:
  - name: main
    image: busybox
    imagePullPolicy: IfNotPresent
    command: [nc, -ll, -p, "%[2]d", -e, %[3]s]
    readinessProbe: {tcpSocket: {port: %[2]d}, periodSeconds: 1}
`

// forward forwards a local port to one of a Pod until the test ends, and returns the
// address.
func (n *node) forward(t *testing.T, protocol, pod string, port int) string {
	t.Helper()
	config := n.rest()
	u, err := url.Parse(config.Host + "/api/v1/namespaces/default/pods/" + pod + "-" + nodeName + "/portforward")
	if err != nil {
		t.Fatal(err)
	}
	var dialer httpstream.Dialer
	if protocol == "websocket" {
		dialer, err = portforward.NewSPDYOverWebsocketDialer(u, config)
	} else {
		var transport http.RoundTripper
		var upgrader spdy.Upgrader
		if transport, upgrader, err = spdy.RoundTripperFor(config); err == nil {
			dialer = spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, u)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	stop, ready, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	f, err := portforward.New(dialer, []string{fmt.Sprintf("0:%d", port)}, stop, ready, io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	go func() { done <- f.ForwardPorts() }()
	t.Cleanup(func() {
		close(stop)
		<-done
	})
	select {
	case <-ready:
	case err := <-done:
		done <- nil
		t.Fatal(err)
	}
	ports, err := f.GetPorts()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", ports[0].Local)
}

// exchange sends input to an address, says that this is all, and reads the answer.
func exchange(address string, input io.Reader, output io.Writer) error {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	sent := make(chan error, 1)
	go func() {
		_, err := io.Copy(conn, input)
		if err == nil {
			err = conn.(*net.TCPConn).CloseWrite()
		}
		sent <- err
	}()
	if _, err := io.Copy(output, conn); err != nil {
		return err
	}
	return <-sent
}

// manyConnections has a hundred of them open at the same time. They are opened one
// after the other: the server in the Pod takes no more.
func manyConnections(t *testing.T, address string) {
	t.Helper()
	var conns []*net.TCPConn
	echo := func(conn net.Conn, text string) {
		t.Helper()
		back := make([]byte, len(text))
		if _, err := io.WriteString(conn, text); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, back); err != nil || string(back) != text {
			t.Fatalf("%s: %v, %q", text, err, back)
		}
	}
	for i := range 100 {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conns = append(conns, conn.(*net.TCPConn))
		echo(conn, fmt.Sprintf("connection %d", i))
	}
	for i, conn := range conns {
		echo(conn, fmt.Sprintf("connection %d again", i))
		if err := conn.CloseWrite(); err != nil {
			t.Error(err)
		}
		if rest, err := io.ReadAll(conn); err != nil || len(rest) > 0 {
			t.Errorf("the end of connection %d: %v, %q", i, err, rest)
		}
	}
}

func TestPortForward(t *testing.T) {
	kubectlPath(t)
	n := startNode(t)
	n.apply("echoes.yaml", fmt.Sprintf(echoes, false, 8080, "cat"))
	// It answers when the client has said its last, and takes its time.
	n.apply("late.yaml", strings.Replace(fmt.Sprintf(echoes, false, 8080, "sh, -c, 'wc -c; sleep 1.5; echo end'"), "name: echoes", "name: late", 1))
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := free.Addr().(*net.TCPAddr).Port
	free.Close()
	n.apply("host.yaml", strings.Replace(fmt.Sprintf(echoes, true, port, "cat"), "name: echoes", "name: host", 1))
	for _, pod := range []string{"echoes", "late", "host"} {
		n.awaitPod(pod, "ready", func(p *corev1.Pod) bool {
			return len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].Ready
		})
	}
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			address := n.forward(t, protocol, "echoes", 8080)
			const size = 100 << 20
			there, back := sha256.New(), sha256.New()
			var counted counter
			err := exchange(address, io.TeeReader(io.LimitReader(rand.New(rand.NewSource(1)), size), there), io.MultiWriter(back, &counted))
			if err != nil || counted != size || !bytes.Equal(there.Sum(nil), back.Sum(nil)) {
				t.Errorf("%v, %d bytes of %d came back, the same: %v", err, counted, size, bytes.Equal(there.Sum(nil), back.Sum(nil)))
			}

			manyConnections(t, address)

			var out bytes.Buffer
			if err := exchange(n.forward(t, protocol, "late", 8080), strings.NewReader("12345"), &out); err != nil || out.String() != "5\nend\n" {
				t.Errorf("half-close: %v, %q", err, out.String())
			}
			out.Reset()
			if err := exchange(n.forward(t, protocol, "host", port), strings.NewReader("on the host"), &out); err != nil || out.String() != "on the host" {
				t.Errorf("hostNetwork: %[1]v, %q", err, out.String())
			}
		})
	}
	t.Run("kubectl", func(t *testing.T) {
		cmd := n.kubectlCommand("port-forward", "pod/echoes-n1", ":8080", ":81")
		output, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		errs := &screen{buffer: new(bytes.Buffer)}
		cmd.Stderr = errs
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var address, closed string
		for closed == "" {
			var ip, to string
			if _, err := fmt.Fscanf(output, "Forwarding from %s -> %s\n", &ip, &to); err != nil {
				t.Fatal(err, errs.buffer.String())
			}
			switch {
			case strings.HasPrefix(ip, "127.") && to == "8080":
				address = ip
			case strings.HasPrefix(ip, "127."):
				closed = ip
			}
		}
		go io.Copy(io.Discard, output)
		var out bytes.Buffer
		if err := exchange(address, strings.NewReader("by kubectl"), &out); err != nil || out.String() != "by kubectl" {
			t.Errorf("%v, %q", err, out.String())
		}
		_ = exchange(closed, strings.NewReader("nobody listens"), io.Discard)
		errs.await("connection refused")
		if !errs.shows("error forwarding port 81 to pod echoes-n1") {
			t.Errorf("a port that nobody listens on: %s", errs.buffer.String())
		}
		_ = cmd.Process.Kill() // it may have ended by itself: kubectl gives up after a refused connection
		_ = cmd.Wait()
	})
}
