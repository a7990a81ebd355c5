// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestRegistryCredentials(t *testing.T) {
	const auths = `{"registry.example:5000":{"auth":"dXNlcjpzZXNhbWU="}}`
	for _, tt := range []struct {
		kind corev1.SecretType
		key  string
		data string
		want string
	}{
		{corev1.SecretTypeDockerConfigJson, corev1.DockerConfigJsonKey, `{"auths":` + auths + `}`, "user sesame"},
		{corev1.SecretTypeDockercfg, corev1.DockerConfigKey, auths, "user sesame"},
		{corev1.SecretTypeOpaque, corev1.DockerConfigJsonKey, `{"auths":` + auths + `}`, "none"},
		{corev1.SecretTypeDockerConfigJson, corev1.DockerConfigJsonKey, `{"auths":{"r":{"auth":"sesame"}}}`, "error"},
		{corev1.SecretTypeDockercfg, corev1.DockerConfigKey, `sesame`, "error"},
	} {
		c, err := registryCredentials(&corev1.Secret{Type: tt.kind, Data: map[string][]byte{tt.key: []byte(tt.data)}})
		got := "none"
		switch {
		case err != nil:
			if got = "error"; strings.Contains(err.Error(), "sesame") {
				t.Errorf("the error tells the secret: %v", err)
			}
		case c != nil:
			user, password, err := c("registry.example:5000", "registry.example:5000/private")
			if got = user + " " + password; err != nil {
				t.Error(err)
			}
		}
		if got != tt.want {
			t.Errorf("%s %s: %s, want %s", tt.kind, tt.data, got, tt.want)
		}
	}
}
