// SPDX-License-Identifier: Apache-2.0

package volumes

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestPageSize(t *testing.T) {
	const two, large = 2 << 20, 1 << 30
	for _, c := range []struct {
		medium corev1.StorageMedium
		asks   []int64
		want   int64 // 0: refused
	}{
		{"HugePages", []int64{two}, two},
		{"HugePages", []int64{two, large}, 0},
		{"HugePages", nil, 0},
		{"HugePages-2Mi", []int64{two, large}, two},
		{"HugePages-1Gi", []int64{two, large}, large},
		{"HugePages-1Gi", []int64{two}, 0},
		{"HugePages-x", []int64{two}, 0},
	} {
		got, err := pageSize(Pod{HugePages: c.asks}, c.medium)
		if got != c.want || (err == nil) != (c.want != 0) {
			t.Errorf("%s with %v: %d, %v; want %d", c.medium, c.asks, got, err, c.want)
		}
	}
}
