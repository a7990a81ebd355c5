// SPDX-License-Identifier: Apache-2.0

package image

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"sort"
	"strings"
)

// Credentials finds what to present to a registry's host for a repository (normalised, without tag, such as
// docker.io/library/busybox; with a mirror, host is the mirror's). An empty user with a secret means an OAuth2 refresh token,
// two empty strings mean anonymous access.
type Credentials func(host, repository string) (user, secret string, err error)

// dockerConfig is the part of docker's config.json, and of a Secret of type kubernetes.io/dockerconfigjson, that counts.
type dockerConfig struct {
	Auths       map[string]dockerAuth `json:"auths"`
	CredHelpers map[string]string     `json:"credHelpers"`
	CredsStore  string                `json:"credsStore"`
}

type dockerAuth struct {
	Auth          string `json:"auth"`
	Username      string `json:"username"`
	Password      string `json:"password"`
	IdentityToken string `json:"identitytoken"`
	RegistryToken string `json:"registrytoken"`
}

// LoadCredentials reads docker config.json files. Those that don't exist count as empty; of several that know a registry, the
// first wins. It returns nil Credentials, meaning anonymous access, when no file exists.
func LoadCredentials(paths ...string) (Credentials, error) {
	var all []Credentials
	for _, file := range paths {
		data, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("registry credentials: %w", err)
		}
		one, err := ParseCredentials(file, data)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return FirstOf(all...), nil
}

// FirstOf asks several Credentials, nil ones left out, and takes the first answer that is not anonymous.
func FirstOf(all ...Credentials) Credentials {
	var set []Credentials
	for _, c := range all {
		if c != nil {
			set = append(set, c)
		}
	}
	if len(set) == 0 {
		return nil
	}
	return func(host, repository string) (string, string, error) {
		for _, c := range set {
			user, secret, err := c(host, repository)
			if err != nil || user != "" || secret != "" {
				return user, secret, err
			}
		}
		return "", "", nil
	}
}

// ParseCredentials reads the content of a docker config.json. Keys of auths are registries, with or without https:// and the
// old /v1/ or /v2/, or registries with a leading part of the repository; * stands for any text within one part of the
// registry's name. The most specific key wins, as with the kubelet. origin names the file in errors.
func ParseCredentials(origin string, data []byte) (Credentials, error) {
	var c dockerConfig
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, fmt.Errorf("%s: no docker config.json: %w", origin, err)
	}
	type entry struct {
		host, prefix, key string
		auth              dockerAuth
	}
	var entries []entry
	for key, auth := range c.Auths {
		host, prefix := splitAuthKey(key)
		if host == "" {
			return nil, fmt.Errorf("%s: auths[%q]: no registry's name", origin, key)
		}
		if auth.Auth != "" && auth.Username == "" && auth.Password == "" {
			user, password, err := decodeAuth(auth.Auth)
			if err != nil {
				return nil, fmt.Errorf("%s: auths[%q].auth: %w", origin, key, err)
			}
			auth.Username, auth.Password = user, password
		}
		entries = append(entries, entry{host, prefix, key, auth})
	}
	sort.Slice(entries, func(i, j int) bool {
		a, b := entries[i], entries[j]
		if len(a.prefix) != len(b.prefix) {
			return len(a.prefix) > len(b.prefix)
		}
		if wild := strings.Contains(a.host, "*"); wild != strings.Contains(b.host, "*") {
			return !wild
		}
		return a.key < b.key
	})
	return func(host, repository string) (string, string, error) {
		host = canonicalHost(host)
		_, inRegistry, _ := strings.Cut(repository, "/")
		if helper := c.CredHelpers[host]; helper != "" {
			return "", "", refuseHelper(origin, host, helper)
		}
		for _, e := range entries {
			if !matchHost(e.host, host) || !underPath(inRegistry, e.prefix) {
				continue
			}
			switch a := e.auth; {
			case a.RegistryToken != "":
				return "", "", fmt.Errorf("%s: auths[%q].registrytoken is not supported: use auth or identitytoken", origin, e.key)
			case a.IdentityToken != "":
				return "", a.IdentityToken, nil
			case a.Username != "" || a.Password != "":
				return a.Username, a.Password, nil
			case c.CredsStore != "":
				return "", "", refuseHelper(origin, host, c.CredsStore)
			}
			return "", "", nil
		}
		return "", "", nil
	}, nil
}

func refuseHelper(origin, host, helper string) error {
	return fmt.Errorf("%w: %s keeps the credentials for %s in the helper docker-credential-%s, which is not supported: put them under auths",
		ErrUnauthorized, origin, host, helper)
}

func decodeAuth(auth string) (user, password string, err error) {
	data, err := base64.StdEncoding.DecodeString(auth)
	if err != nil {
		data, err = base64.RawStdEncoding.DecodeString(auth)
	}
	if err != nil {
		return "", "", errors.New("not base64")
	}
	user, password, ok := strings.Cut(strings.TrimRight(string(data), "\x00"), ":")
	if !ok {
		return "", "", errors.New("not of the form user:password")
	}
	return user, password, nil
}

// splitAuthKey splits a key of auths into the registry's host and a prefix of repositories there.
func splitAuthKey(key string) (host, prefix string) {
	if _, rest, ok := strings.Cut(key, "://"); ok {
		if _, err := url.Parse(key); err != nil && !strings.Contains(key, "*") {
			return "", ""
		}
		key = rest
	}
	host, prefix, _ = strings.Cut(key, "/")
	prefix = strings.Trim(prefix, "/")
	if prefix == "v1" || prefix == "v2" {
		prefix = ""
	}
	return canonicalHost(host), prefix
}

// canonicalHost gives Docker Hub's several names as one.
func canonicalHost(host string) string {
	switch host = strings.ToLower(host); host {
	case "index.docker.io", "registry-1.docker.io":
		return "docker.io"
	}
	return host
}

// matchHost compares name by name, so that * never spans a dot.
func matchHost(pattern, host string) bool {
	if pattern == host {
		return true
	}
	if !strings.Contains(pattern, "*") {
		return false
	}
	want, have := strings.Split(pattern, "."), strings.Split(host, ".")
	if len(want) != len(have) {
		return false
	}
	for i := range want {
		if ok, err := path.Match(want[i], have[i]); err != nil || !ok {
			return false
		}
	}
	return true
}

func underPath(repository, prefix string) bool {
	return prefix == "" || repository == prefix || strings.HasPrefix(repository, prefix+"/")
}
