// SPDX-License-Identifier: Apache-2.0

package api

import (
	corev1 "k8s.io/api/core/v1"
	upstream "k8s.io/kubernetes/pkg/apis/core/v1"
	"k8s.io/kubernetes/pkg/apis/core/validation"
)

// SecretRules are those of Secrets. Their default merges stringData into data.
func SecretRules() Rules {
	return RulesOf(defaultSecret, upstream.Convert_v1_Secret_To_core_Secret, validation.ValidateSecret, validation.ValidateSecretUpdate)
}

func defaultSecret(s *corev1.Secret) {
	upstream.SetObjectDefaults_Secret(s)
	if s.Data == nil && len(s.StringData) > 0 {
		s.Data = make(map[string][]byte)
	}
	for key, text := range s.StringData {
		s.Data[key] = []byte(text)
	}
	s.StringData = nil
}
