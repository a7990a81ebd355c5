// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestUserFilesAreReadOnceForAnImage(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "etc/passwd"), []byte("app:x:7:7::/:\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	u, views := &users{}, 0
	view := func(fn func(string) error) error { views++; return fn(root) }
	for range 3 {
		files, err := u.of("a", view)
		if err != nil || string(files.Passwd) != "app:x:7:7::/:\n" {
			t.Fatalf("%q, %v", files, err)
		}
	}
	if views != 1 {
		t.Errorf("the image was mounted %d times", views)
	}
	if _, err := u.of("b", func(func(string) error) error { return errors.New("no mount") }); err == nil {
		t.Error("an error was swallowed")
	}
	if _, err := u.of("b", view); err != nil || views != 2 {
		t.Errorf("after an error: %v, %d mounts", err, views)
	}
}
