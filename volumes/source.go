// SPDX-License-Identifier: Apache-2.0

package volumes

import (
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// sourceOf names the source that a volume sets, as in JSON. Without any it is
// an emptyDir, the API's default.
func sourceOf(v corev1.Volume) string {
	s := reflect.ValueOf(v.VolumeSource)
	for i := range s.NumField() {
		if !s.Field(i).IsNil() {
			name, _, _ := strings.Cut(s.Type().Field(i).Tag.Get("json"), ",")
			return name
		}
	}
	return "emptyDir"
}
