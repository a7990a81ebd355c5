// SPDX-License-Identifier: Apache-2.0

package image

import (
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCredentials(t *testing.T) {
	auth := base64.StdEncoding.EncodeToString([]byte("u:p:q"))
	config := `{"auths":{
		"https://index.docker.io/v1/": {"auth": "` + auth + `"},
		"plain.example": {"username": "a", "password": "b"},
		"plain.example/team": {"username": "team", "password": "t"},
		"plain.example/team/deep": {"username": "deep", "password": "d"},
		"*.wild.example": {"username": "w", "password": "w"},
		"one.wild.example": {"username": "one", "password": "1"},
		"token.example:5000": {"identitytoken": "refresh"},
		"bearer.example": {"registrytoken": "x"},
		"kept.example": {}
	}, "credHelpers": {"helped.example": "gcloud"}, "credsStore": "desktop"}`
	c, err := ParseCredentials("config.json", []byte(config))
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct{ host, repository, user, secret, fails string }{
		{"registry-1.docker.io", "docker.io/library/busybox", "u", "p:q", ""},
		{"docker.io", "docker.io/library/busybox", "u", "p:q", ""},
		{"plain.example", "plain.example/x", "a", "b", ""},
		{"plain.example", "plain.example/team", "team", "t", ""},
		{"plain.example", "plain.example/team/x", "team", "t", ""},
		{"plain.example", "plain.example/teams", "a", "b", ""},
		{"plain.example", "plain.example/team/deep/er", "deep", "d", ""},
		{"two.wild.example", "two.wild.example/x", "w", "w", ""},
		{"one.wild.example", "one.wild.example/x", "one", "1", ""},
		{"a.b.wild.example", "a.b.wild.example/x", "", "", ""},
		{"token.example:5000", "token.example:5000/x", "", "refresh", ""},
		{"token.example", "token.example/x", "", "", ""},
		{"other.example", "other.example/x", "", "", ""},
		{"bearer.example", "bearer.example/x", "", "", "registrytoken"},
		{"kept.example", "kept.example/x", "", "", "docker-credential-desktop"},
		{"helped.example", "helped.example/x", "", "", "docker-credential-gcloud"},
	} {
		user, secret, err := c(x.host, x.repository)
		if user != x.user || secret != x.secret || (err != nil) != (x.fails != "") || err != nil && !strings.Contains(err.Error(), x.fails) {
			t.Errorf("%s %s: %q %q %v", x.host, x.repository, user, secret, err)
		}
	}
	for _, bad := range []string{``, `[]`, `{"auths":{"a":{"auth":"***"}}}`, `{"auths":{"a":{"auth":"bm9jb2xvbg=="}}}`, `{"auths":{"/x":{}}}`} {
		if _, err := ParseCredentials("config.json", []byte(bad)); err == nil || !strings.Contains(err.Error(), "config.json") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestLoadCredentials(t *testing.T) {
	dir := t.TempDir()
	first, second := filepath.Join(dir, "1"), filepath.Join(dir, "2")
	for path, data := range map[string]string{
		first:  `{"auths":{"a.example":{"username":"1","password":"1"}}}`,
		second: `{"auths":{"a.example":{"username":"2","password":"2"},"b.example":{"username":"2","password":"2"}}}`,
	} {
		if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := LoadCredentials(filepath.Join(dir, "none"), first, second)
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]string{"a.example": "1", "b.example": "2", "c.example": ""} {
		if user, _, err := c(host, host+"/x"); user != want || err != nil {
			t.Errorf("%s: %q, %v", host, user, err)
		}
	}
	if c, err := LoadCredentials(filepath.Join(dir, "none")); c != nil || err != nil {
		t.Errorf("no file: %v", err)
	}
	if _, err := LoadCredentials(dir); err == nil || errors.Is(err, os.ErrNotExist) {
		t.Errorf("a directory: %v", err)
	}
}

func FuzzParseCredentials(f *testing.F) {
	f.Add([]byte(`{"auths":{"https://*.a/b":{"auth":"dTpw"}},"credsStore":"x"}`), "a.a", "a.a/b")
	f.Fuzz(func(t *testing.T, data []byte, host, repository string) {
		if c, err := ParseCredentials("x", data); err == nil {
			_, _, _ = c(host, repository)
		}
	})
}
