// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"os"
	"path/filepath"
	"testing"
)

func TestReadExits(t *testing.T) {
	tasks := t.TempDir()
	if got := readExits(tasks, "none"); len(got) != 0 {
		t.Errorf("exits of a namespace without bundles: %v", got)
	}
	for id, content := range map[string]string{
		"failed":    `{"Timestamp":"2026-01-02T03:04:05.6Z","Pid":12,"Status":3}`,
		"succeeded": `{"Timestamp":"2026-01-02T03:04:05Z","Pid":13,"Status":0}`,
		"empty":     ``,
		"half":      `{"Timestamp":"2026-01-02T03:0`,
		"no pid":    `{"Timestamp":"2026-01-02T03:04:05Z","Pid":0,"Status":0}`,
		"no time":   `{"Pid":14,"Status":0}`,
		"negative":  `{"Timestamp":"2026-01-02T03:04:05Z","Pid":15,"Status":-1}`,
	} {
		dir := filepath.Join(tasks, "ns", id)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, exitFile), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got := readExits(tasks, "ns")
	if len(got) != 2 || got["failed"].Status != 3 || got["failed"].PID != 12 || got["succeeded"].Status != 0 {
		t.Errorf("readExits = %v, want failed with 3 and succeeded with 0", got)
	}
	if ms := got["failed"].At.UnixMilli(); ms%1000 != 600 {
		t.Errorf("time %v lost its fraction", got["failed"].At)
	}
}
