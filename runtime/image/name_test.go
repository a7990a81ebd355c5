// SPDX-License-Identifier: Apache-2.0

package image

import (
	"errors"
	"strings"
	"testing"
)

func TestNormalise(t *testing.T) {
	d := "sha256:" + strings.Repeat("0a", 32)
	for ref, want := range map[string]string{
		"busybox":                       "docker.io/library/busybox:latest",
		"busybox:1.36":                  "docker.io/library/busybox:1.36",
		"user/app":                      "docker.io/user/app:latest",
		"docker.io/busybox":             "docker.io/library/busybox:latest",
		"index.docker.io/library/a":     "docker.io/library/a:latest",
		"localhost/app":                 "localhost/app:latest",
		"localhost:5000/app:x":          "localhost:5000/app:x",
		"127.0.0.1:5000/a/b":            "127.0.0.1:5000/a/b:latest",
		"[::1]:5000/a":                  "[::1]:5000/a:latest",
		"registry.k8s.io/pause:3.10":    "registry.k8s.io/pause:3.10",
		"app@" + d:                      "docker.io/library/app@" + d,
		"example.com/app:v1@" + d:       "example.com/app@" + d,
		"minikubelet.local/pause:1":     "minikubelet.local/pause:1",
		"a.b/c__d/e.f-g:TAG_with.Marks": "a.b/c__d/e.f-g:TAG_with.Marks",
	} {
		if got, err := Normalise(ref); err != nil || got != want {
			t.Errorf("Normalise(%q) = %q, %v; want %q", ref, got, err, want)
		}
	}
	for _, ref := range []string{"", "Upper", "a b", "a:", "a:b:c", "-a", "a//b", "a@sha256:12", "a@md5:" + strings.Repeat("0", 32), "../etc/passwd",
		strings.Repeat("0a", 32), "http://example.com/app", "a:" + strings.Repeat("t", 129), strings.Repeat("a", 2000), "a\x00", "ä"} {
		got, err := Normalise(ref)
		var invalid *InvalidNameError
		if !errors.As(err, &invalid) {
			t.Errorf("Normalise(%q) = %q, %v; want an InvalidNameError", ref, got, err)
		} else if len(err.Error()) > 400 {
			t.Errorf("the error for %.20q… has %d bytes", ref, len(err.Error()))
		}
	}
}

func FuzzNormalise(f *testing.F) {
	for _, seed := range []string{"busybox", "a/b:c", "localhost:5000/x@sha256:" + strings.Repeat("0", 64), "[::1]:1/a", "A", "a:b@c", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, ref string) {
		name, err := Normalise(ref)
		if err != nil {
			var invalid *InvalidNameError
			if !errors.As(err, &invalid) {
				t.Fatalf("%q: %T", ref, err)
			}
			return
		}
		if again, err := Normalise(name); err != nil || again != name {
			t.Fatalf("%q gives %q, and that %q, %v", ref, name, again, err)
		}
		domain, repository, tag, dgst, err := parsed(name)
		if err != nil || (tag == "") == (dgst == "") || !strings.HasPrefix(repository, domain+"/") {
			t.Fatalf("%q: %q %q %q %q %v", name, domain, repository, tag, dgst, err)
		}
	})
}
