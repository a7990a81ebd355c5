// SPDX-License-Identifier: Apache-2.0

package check

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/mount"
	"golang.org/x/sys/unix"

	"github.com/minikubelet/minikubelet/volumes"
)

// userNamespaces are of no use but to Pods that ask for them. inMemory is why their
// volumes in memory are refused.
func userNamespaces(possible, inMemory error) Result {
	r := Result{Level: OK, Name: "user namespaces", Found: "available for Pods with hostUsers: false"}
	switch {
	case possible == nil && inMemory != nil:
		r.Level, r.Found, r.Remedy = Warn, inMemory.Error(), "use Linux 6.3 or later"
		r.Consequence = "Pods with hostUsers: false fail to start with volumes in memory: secret, projected, downwardAPI, and emptyDir with medium Memory"
	case possible != nil:
		r.Level, r.Found, r.Consequence = Warn, possible.Error(), "Pods with hostUsers: false fail to start"
		r.Remedy = "use Linux 5.19 or later with CONFIG_USER_NS, sysctl user.max_user_namespaces above 0, and the data directory on ext4, xfs or btrfs where others may enter"
	}
	return r
}

// UserNamespaces tells why Pods cannot have users of their own with these directories;
// nil when they can. It needs root, and starts a process that makes a user namespace.
func UserNamespaces(dataDir, runDir string) error {
	ns, err := mount.GetUsernsFD("0:65536:65536", "0:65536:65536")
	if errors.Is(err, unix.ENOSPC) {
		return fmt.Errorf("no user namespace can be made: %w: the sysctl user.max_user_namespaces is reached", err)
	}
	if err != nil {
		return fmt.Errorf("no user namespace can be made: %w", err)
	}
	defer ns.Close()
	path := fmt.Sprintf("/proc/self/fd/%d", ns.Fd())
	if err := volumes.IDMappable(existing(dataDir), path); err != nil {
		return err
	}
	if err := enterable(dataDir); err != nil {
		return err
	}
	return enterable(runDir)
}

// mappedMemory tells why volumes in memory cannot belong to the users of Pods.
func mappedMemory() error {
	ns, err := mount.GetUsernsFD("0:65536:65536", "0:65536:65536")
	if err != nil {
		return err
	}
	defer ns.Close()
	return volumes.TmpfsIDMappable(fmt.Sprintf("/proc/self/fd/%d", ns.Fd()))
}

// enterable: the OCI runtime enters the container's root directory as the Pod's root,
// who is nobody here.
func enterable(dir string) error {
	for dir = existing(dir); ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return err
		}
		if info.Mode()&0o001 == 0 {
			return fmt.Errorf("%s cannot be entered by others: chmod o+x %s", dir, dir)
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}
