// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// kubeAPIServer does a part of the measurements with kube-apiserver and etcd, each
// with its defaults, on loopback. Without them there are no rows.
func (b *bench) kubeAPIServer(ctx context.Context, part apiPart) (_ []row, err error) {
	etcd, err1 := exec.LookPath("etcd")
	server, err2 := exec.LookPath("kube-apiserver")
	if err := errors.Join(err1, err2); err != nil {
		fmt.Fprintf(os.Stderr, "  nothing to compare with: %v\n", errors.Join(err1, err2))
		return nil, nil
	}
	dir := b.path("peer")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	const token = "bench-token"
	if err := errors.Join(os.WriteFile(dir+"/tokens", []byte(token+",admin,admin,system:masters\n"), 0o600), writeKey(dir+"/key.pem")); err != nil {
		return nil, err
	}
	ports, err := freePorts(3)
	if err != nil {
		return nil, err
	}
	local := func(i int) string { return fmt.Sprintf("http://127.0.0.1:%d", ports[i]) }
	var processes []*exec.Cmd
	defer func() {
		for _, cmd := range processes {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}()
	for _, args := range [][]string{
		{etcd, "--data-dir", dir + "/etcd", "--listen-client-urls", local(0), "--advertise-client-urls", local(0),
			"--listen-peer-urls", local(1), "--initial-advertise-peer-urls", local(1), "--initial-cluster", "default=" + local(1)},
		{server, "--etcd-servers", local(0), "--bind-address", "127.0.0.1", "--secure-port", fmt.Sprint(ports[2]), "--cert-dir", dir,
			"--token-auth-file", dir + "/tokens", "--authorization-mode", "RBAC", "--service-cluster-ip-range", "10.0.0.0/24",
			"--service-account-issuer", "https://bench.invalid", "--service-account-key-file", dir + "/key.pem",
			"--service-account-signing-key-file", dir + "/key.pem", "--disable-admission-plugins", "ServiceAccount"},
	} {
		log, err := os.Create(fmt.Sprintf("%s/%d.log", dir, len(processes)))
		if err != nil {
			return nil, err
		}
		defer log.Close()
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Stdout, cmd.Stderr = log, log
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		processes = append(processes, cmd)
	}
	memory := func() (sum float64) {
		for _, cmd := range processes {
			sum += statusField(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid), "VmRSS:")
		}
		return sum
	}
	config := &rest.Config{
		Host: fmt.Sprintf("https://127.0.0.1:%d", ports[2]), BearerToken: token, TLSClientConfig: rest.TLSClientConfig{Insecure: true},
	}
	if err := untilReady(ctx, config.Host); err != nil {
		return nil, err
	}
	s, err := newAPIServer(config, memory, b.rounds)
	if err != nil {
		return nil, err
	}
	for { // its controllers make the namespace some time later
		_, err := s.client.CoreV1().Namespaces().Get(ctx, "default", metav1.GetOptions{})
		if err == nil {
			return part(ctx, s)
		}
		if !apierrors.IsNotFound(err) {
			return nil, err
		}
		if err := wait(ctx, 100*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// writeKey makes the key that ServiceAccount tokens are signed with.
func writeKey(path string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600)
}

// freePorts are ports of loopback that nobody listens on.
func freePorts(n int) (ports []int, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}
