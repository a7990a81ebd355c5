// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"os"
	"path/filepath"
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
