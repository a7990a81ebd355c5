// SPDX-License-Identifier: Apache-2.0

// Command answers is what the tests of probes ask: over HTTP at port 8080, HTTPS at
// 8443, gRPC's health service at 9090, and TCP at 7070. It is well until the file
// that it is given exists.
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
)

func main() {
	s := server{sick: os.Args[1]}
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", s.healthz)
	mux.HandleFunc("/headers", s.headers)
	mux.Handle("/here", http.RedirectHandler("/healthz", http.StatusFound))
	mux.Handle("/there", http.RedirectHandler("http://elsewhere.invalid/", http.StatusFound))
	certificate, err := selfSigned()
	if err != nil {
		log.Fatal(err)
	}
	secure := &http.Server{Addr: ":8443", Handler: mux, TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}}}
	health := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(health, &s)
	rpc, err := net.Listen("tcp", ":9090")
	if err != nil {
		log.Fatal(err)
	}
	go func() { log.Fatal(http.ListenAndServe(":8080", mux)) }()
	go func() { log.Fatal(secure.ListenAndServeTLS("", "")) }()
	go func() { log.Fatal(health.Serve(rpc)) }()
	log.Fatal(s.listen(":7070"))
}

type server struct {
	grpc_health_v1.UnimplementedHealthServer
	sick string
}

func (s *server) well() bool {
	_, err := os.Stat(s.sick)
	return err != nil
}

func (s *server) healthz(w http.ResponseWriter, _ *http.Request) {
	if !s.well() {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
}

// headers wants what the test's probe sends.
func (s *server) headers(w http.ResponseWriter, r *http.Request) {
	if r.Host != "answers.example" || r.Header.Get("X-Token") != "sesame" || r.TLS == nil {
		http.Error(w, fmt.Sprintf("host %q", r.Host), http.StatusBadRequest)
		return
	}
	s.healthz(w, r)
}

func (s *server) Check(_ context.Context, r *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	status := grpc_health_v1.HealthCheckResponse_SERVING
	if r.Service != "mine" || !s.well() {
		status = grpc_health_v1.HealthCheckResponse_NOT_SERVING
	}
	return &grpc_health_v1.HealthCheckResponse{Status: status}, nil
}

// listen takes connections as long as the server is well.
func (s *server) listen(address string) error {
	for ; ; time.Sleep(100 * time.Millisecond) {
		if !s.well() {
			continue
		}
		l, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		go func() {
			for s.well() {
				time.Sleep(100 * time.Millisecond)
			}
			_ = l.Close() // which ends the loop below
		}()
		for {
			conn, err := l.Accept()
			if err != nil {
				break
			}
			_ = conn.Close()
		}
	}
}

func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour), DNSNames: []string{"nobody.example"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}
