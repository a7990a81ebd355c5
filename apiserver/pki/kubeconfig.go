// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"sigs.k8s.io/yaml"
)

// CA is the certificate by which clients know the server.
func (d *Dir) CA() []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ca.certPEM
}

// Kubeconfig is the administrator's configuration for clients of the API at
// server, a URL. name is that of the cluster and of the context.
func (d *Dir) Kubeconfig(server, name string) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	type object = map[string]any
	user := name + "-admin"
	return yaml.Marshal(object{
		"apiVersion": "v1", "kind": "Config", "current-context": name,
		"clusters": []object{{"name": name, "cluster": object{"server": server, "certificate-authority-data": d.ca.certPEM}}},
		"users":    []object{{"name": user, "user": object{"client-certificate-data": d.admin.certPEM, "client-key-data": d.admin.keyPEM}}},
		"contexts": []object{{"name": name, "context": object{"cluster": name, "user": user}}},
	})
}
