// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/minikubelet/minikubelet/runtime/image"
)

// pullCredentials are what the Pod's imagePullSecrets say, nil without any. Secrets
// that are not there are told of, and the pull is tried without them.
func (w *worker) pullCredentials(pod *corev1.Pod) (image.Credentials, error) {
	var all []image.Credentials
	var absent []string
	objects := storeObjects{w.m.cfg.Store}
	for _, ref := range pod.Spec.ImagePullSecrets {
		if ref.Name == "" {
			continue
		}
		secret, err := objects.secret(pod.Namespace, ref.Name)
		if err != nil {
			absent = append(absent, ref.Name)
			continue
		}
		one, err := registryCredentials(secret)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	if len(absent) > 0 {
		w.event(pod, "", corev1.EventTypeWarning, "FailedToRetrieveImagePullSecret", fmt.Sprintf(
			"Unable to retrieve some image pull secrets (%s); attempting to pull the image may not succeed.", strings.Join(absent, ", ")))
	}
	return image.FirstOf(all...), nil
}

// registryCredentials reads a Secret of one of the two types for registries; others
// have none. Errors tell nothing of the content.
func registryCredentials(secret *corev1.Secret) (image.Credentials, error) {
	origin := fmt.Sprintf("Secret %s/%s", secret.Namespace, secret.Name)
	switch secret.Type {
	case corev1.SecretTypeDockerConfigJson:
		return image.ParseCredentials(origin, secret.Data[corev1.DockerConfigJsonKey])
	case corev1.SecretTypeDockercfg: // the auths alone
		data := append([]byte(`{"auths":`), secret.Data[corev1.DockerConfigKey]...)
		return image.ParseCredentials(origin, append(data, '}'))
	}
	return nil, nil
}
