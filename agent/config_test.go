// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// TestConfig has what a configuration file may say wrong, and what is then said.
func TestConfig(t *testing.T) {
	for text, want := range map[string]string{
		"":                        "",
		"logMaxFiles: 2":          "",
		"logMaxFiles: 1":          "logMaxFiles 1: must be at least 2", // what the log writer needs
		"maxPods: 0":              "maxPods 0",
		"logMaxSize: lots":        `logMaxSize "lots"`,
		"reservedCPU: -1":         `reservedCPU "-1"`,
		"podSubnet: 10.88.0.0":    "podSubnet",
		"nodeName: Not_A_Name":    "nodeName",
		"cgroupRoot: minikubelet": "cgroupRoot",
		"idsPerPod: 131072":       "",
		"idsPerPod: 100000":       "100000 IDs for each Pod are no multiple of 65536",
		"idsPerPod: -65536":       "idsPerPod -65536: must be a multiple",
		"idsPerPod: 4294967296":   "idsPerPod 4294967296: must be a multiple",
		"podIDs: 65536:7208960":   "",
		"podIDs: 65536:7143424":   "podIDs 65536:7143424: they are enough for 109 Pods, and maxPods is 110",
		"podIDs: 0:7208960":       "podIDs 0:7208960: the first ID 0 must not be less",
		"podIDs: 65536":           "podIDs 65536: must be the first ID and their number",
		"noSuchKey: 1":            "noSuchKey",
	} {
		file := filepath.Join(t.TempDir(), "config.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg := DefaultConfig()
		cfg.NodeName = "n"
		err := cfg.LoadFile(file, false)
		if err == nil {
			err = cfg.complete()
		}
		switch {
		case want == "" && err != nil:
			t.Errorf("%q: %v", text, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%q: %v; want %q", text, err, want)
		}
	}
}

// TestConfigIsInTheDocuments reads the configuration that docs/operations.md has
// as an example of all keys with their defaults.
func TestConfigIsInTheDocuments(t *testing.T) {
	const document, before = "../docs/operations.md", "with their defaults:\n\n"
	data, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	_, text, found := strings.Cut(string(data), before)
	text, _, _ = strings.Cut(text, "\n\nRelative paths")
	if !found {
		t.Fatalf("%s has no %q", document, before)
	}
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(text, "\n    ", "\n")[4:]), 0o600); err != nil {
		t.Fatal(err)
	}
	var got Config
	if err := got.LoadFile(file, false); err != nil {
		t.Fatal(err)
	}
	for _, m := range []*map[string]string{&got.EvictionSoft, &got.EvictionSoftGracePeriod, &got.EvictionMinimumReclaim} {
		if len(*m) == 0 {
			*m = nil
		}
	}
	if len(got.ShutdownGracePeriodByPodPriority) == 0 {
		got.ShutdownGracePeriodByPodPriority = nil
	}
	if len(got.AllowedHostPaths) == 0 {
		got.AllowedHostPaths = nil
	}
	if len(got.AllowedUnsafeSysctls) == 0 {
		got.AllowedUnsafeSysctls = nil
	}
	if want := DefaultConfig(); !reflect.DeepEqual(got, want) {
		t.Errorf("%s says\n%+v, but the defaults are\n%+v", document, got, want)
	}
	for field := range reflect.TypeFor[Config]().Fields() {
		key, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if key == "-" {
			continue // no key: what the program itself knows
		}
		if !strings.Contains("\n"+text, "\n    "+key+": ") {
			t.Errorf("%s lacks the key %s", document, key)
		}
	}
}
