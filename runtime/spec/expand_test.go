// SPDX-License-Identifier: Apache-2.0

package spec

import (
	"strings"
	"testing"

	"k8s.io/kubernetes/third_party/forked/golang/expansion"
	"pgregory.net/rapid"
)

func lookupIn(vars map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) { v, ok := vars[name]; return v, ok }
}

func TestExpand(t *testing.T) {
	vars := lookupIn(map[string]string{"A": "a", "B": "b", "EMPTY": "", "REF": "$(A)", "sp ace": "s"})
	for in, want := range map[string]string{
		"":                    "",
		"plain":               "plain",
		"$(A)":                "a",
		"x$(A)y$(B)z":         "xaybz",
		"$(A)$(B)":            "ab",
		"$(EMPTY)|":           "|",
		"$(MISSING)":          "$(MISSING)",
		"$$(A)":               "$(A)",
		"$$$(A)":              "$a",
		"$$$$(A)":             "$$(A)",
		"$$":                  "$",
		"$":                   "$",
		"a$":                  "a$",
		"$A ${A}":             "$A ${A}",
		"$(A":                 "$(A",
		"$(A$(B)":             "$(A$(B)",
		"$(REF)":              "$(A)",
		"$(sp ace)":           "s",
		"$()":                 "$()",
		"$(\xff)$(A)":         "$(\xff)a",
		"--port=$(A):$(B) $x": "--port=a:b $x",
		"日本$(A)語":             "日本a語",
	} {
		if got := Expand(in, vars); got != want {
			t.Errorf("Expand(%q) is %q, want %q", in, got, want)
		}
	}
}

// The kubelet's own function is the reference.
func TestExpandAsKubelet(t *testing.T) {
	vars := map[string]string{"A": "a", "B": "$(A)", "AB": "", "$": "dollar"}
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.StringMatching(`([$()AB]|é|x){0,16}`).Draw(t, "in")
		want := expansion.Expand(in, expansion.MappingFuncFor(vars))
		if got := Expand(in, lookupIn(vars)); got != want {
			t.Fatalf("Expand(%q) is %q, the kubelet's %q", in, got, want)
		}
	})
}

func FuzzExpand(f *testing.F) {
	f.Add("a$(A)$$(B)")
	f.Fuzz(func(t *testing.T, in string) {
		got := Expand(in, func(string) (string, bool) { return "", false })
		// Only doubled dollars may go.
		if len(got) > len(in) || strings.ReplaceAll(got, "$", "") != strings.ReplaceAll(in, "$", "") {
			t.Errorf("Expand(%q) is %q", in, got)
		}
	})
}

func TestExpandAll(t *testing.T) {
	vars := lookupIn(map[string]string{"A": "a"})
	if got, err := ExpandAll("$(A)/$$(Z)", vars); err != nil || got != "a/$(Z)" {
		t.Errorf("%q, %v", got, err)
	}
	_, err := ExpandAll("$(Z)/$(A)/$(Y)$(Z)", vars)
	if err == nil || err.Error() != "missing value for Y, Z" {
		t.Error(err)
	}
}
