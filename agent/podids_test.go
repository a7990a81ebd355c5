// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSubIDs(t *testing.T) {
	for _, c := range []struct {
		uids, gids    string // "-": no file
		first, length uint32
		err           string
	}{
		{"-", "-", 0, 0, ""},
		{"debian:100000:65536\n", "debian:100000:65536\n", 0, 0, ""},
		{"debian:100000:65536\nkubelet:65536:7208960\n", "kubelet:65536:7208960\n", 65536, 7208960, ""},
		{"kubelet:65536:7208960\n", "-", 0, 0, "the same in both files"},
		{"kubelet:65536:7208960\n", "kubelet:131072:7208960\n", 0, 0, "the same in both files"},
		{"kubelet:65536:65536\nkubelet:231072:65536\n", "kubelet:65536:65536\n", 0, 0, "there must be one range"},
		{"kubelet:65536:42949672960\n", "kubelet:65536:42949672960\n", 0, 0, "not one of IDs of 32 bits"},
	} {
		dir := t.TempDir()
		path := func(name, text string) string {
			if text != "-" {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			return filepath.Join(dir, name)
		}
		first, length, err := subIDs(path("subuid", c.uids), path("subgid", c.gids))
		switch {
		case c.err == "" && (err != nil || first != c.first || length != c.length):
			t.Errorf("%q, %q: %d:%d, %v", c.uids, c.gids, first, length, err)
		case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
			t.Errorf("%q, %q: %v, want %q", c.uids, c.gids, err, c.err)
		}
	}
}
