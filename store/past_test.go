// SPDX-License-Identifier: Apache-2.0

package store

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"
)

// TestScanAtIsTheScanOfThen keeps what a scan shows after each of random changes, and
// asks for it again at the end.
func TestScanAtIsTheScanOfThen(t *testing.T) {
	dir, n := t.TempDir(), 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		s, err := Open(filepath.Join(dir, fmt.Sprint(n, ".db")))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		exists := make(map[string]bool)
		then := [][]string{nil} // what there was at each revision
		for i := range rapid.IntRange(1, 20).Draw(t, "changes") {
			p := pod(rapid.SampledFrom([]string{"x", "y"}).Draw(t, "name"))
			p.Namespace = rapid.SampledFrom([]string{"a", "ab", "b"}).Draw(t, "namespace")
			p.Labels = map[string]string{"x": fmt.Sprint(i)}
			key := p.Namespace + "/" + p.Name
			switch {
			case !exists[key]:
				err, exists[key] = s.Create("pods", p), true
			case rapid.Bool().Draw(t, "delete"):
				err, exists[key] = s.Delete("pods", p), false
			default:
				err = s.Update("pods", p)
			}
			if err != nil {
				t.Fatal(err)
			}
			var all []string
			if _, err := s.Scan("pods", "", "", show(&all)); err != nil {
				t.Fatal(err)
			}
			then = append(then, all)
		}
		for at, all := range then {
			namespace := rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "of")
			after := rapid.SampledFrom([]string{"", "a/x", "ab/x", "b/x", "b/y"}).Draw(t, "after")
			want := slices.DeleteFunc(slices.Clone(all), func(line string) bool {
				key, _, _ := strings.Cut(line, "=")
				return key <= after || namespace != "" && !strings.HasPrefix(key, namespace+"/")
			})
			var got []string
			if err := s.ScanAt("pods", namespace, after, uint64(at), show(&got)); err != nil || !slices.Equal(got, want) {
				t.Fatalf("at %d, of %q after %q: %v, not %v, %v", at, namespace, after, got, want, err)
			}
		}
	})
}

// show notes the objects of a scan.
func show(into *[]string) func(string, Data) error {
	return func(key string, data Data) error {
		var p corev1.Pod
		err := data.Into(&p)
		*into = append(*into, key+"="+p.Labels["x"]+"@"+p.ResourceVersion)
		return err
	}
}
