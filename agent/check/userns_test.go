// SPDX-License-Identifier: Apache-2.0

package check

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

func TestUserNamespaces(t *testing.T) {
	one(t, userNamespaces(nil, nil), OK, "hostUsers: false")
	one(t, userNamespaces(errors.New("there are none"), nil), Warn, "user.max_user_namespaces")
	one(t, userNamespaces(nil, errors.New("not in memory")), Warn, "medium Memory")
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	for path := dir; path != os.TempDir() && path != "/"; path = path[:strings.LastIndex(path, "/")] {
		if err := os.Chmod(path, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	if err := UserNamespaces(dir+"/data", dir+"/run"); err != nil {
		t.Errorf("here they are used by other tests, but: %v", err)
	}
	var version [2]int
	if _, err := fmt.Sscanf(kernelRelease(), "%d.%d", &version[0], &version[1]); err != nil {
		t.Fatal(err)
	}
	if err := mappedMemory(); (err == nil) != (slices.Compare(version[:], []int{6, 3}) >= 0) {
		t.Errorf("volumes in memory on Linux %v: %v", version, err)
	}
	if err := UserNamespaces("/proc", dir); err == nil || !strings.Contains(err.Error(), "/proc: proc supports no idmap mounts") {
		t.Errorf("data in /proc: %v", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := UserNamespaces("/", dir+"/run"); err == nil || !strings.Contains(err.Error(), dir+" cannot be entered by others") {
		t.Errorf("a private directory: %v", err)
	}
}
