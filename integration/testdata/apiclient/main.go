// SPDX-License-Identifier: Apache-2.0

// Command apiclient is a Pod's client of the Kubernetes API: it finds the API as
// client-go does in a Pod and prints the status of a GET of each path.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"
)

const account = "/var/run/secrets/kubernetes.io/serviceaccount/"

func main() {
	ca, err := os.ReadFile(account + "ca.crt")
	if err != nil {
		fmt.Println(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	host := net.JoinHostPort(os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT"))
	token, _ := os.ReadFile(account + "token")
	for _, path := range os.Args[1:] {
		req, err := http.NewRequest(http.MethodGet, "https://"+host+path, nil)
		if err != nil {
			fmt.Println(path, err)
			continue
		}
		req.Header.Set("Authorization", "Bearer "+string(token))
		resp, err := client.Do(req)
		if err != nil {
			fmt.Println(path, err)
			continue
		}
		fmt.Println(path, resp.StatusCode)
		resp.Body.Close()
	}
}
