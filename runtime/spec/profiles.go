// SPDX-License-Identifier: Apache-2.0

package spec

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/contrib/apparmor"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

const (
	// maxSeccompProfile bounds a profile's file, in bytes. The default profile has 15,000.
	maxSeccompProfile = 1 << 20
	// AppArmorDefault is the name of the AppArmor profile that RuntimeDefault means.
	AppArmorDefault = "minikubelet-default"
	// appArmorProfiles lists the profiles that the kernel has.
	appArmorProfiles = "/sys/kernel/security/apparmor/profiles"
)

// LoadProfiles reads the seccomp profile that a container names, below the node's
// directory of profiles, and makes sure that the kernel has the AppArmor profile that it names. The messages are
// those of containerd's CRI. Without named profiles it looks at nothing and gives nil.
func LoadProfiles(s Security, n Node) (*specs.LinuxSeccomp, error) {
	if s.AppArmor.Profile != "" {
		if err := appArmorLoaded(appArmorProfiles, s.AppArmor.Profile); err != nil {
			return nil, err
		}
	}
	if s.Seccomp != SeccompLocalhost || s.Privileged {
		return nil, nil
	}
	dir := n.SeccompDir
	path := filepath.Join(dir, s.SeccompProfile)
	root, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot load seccomp profile %q: %w", path, &fs.PathError{Op: "open", Path: dir, Err: err})
	}
	defer unix.Close(root)
	data, err := readRegular(root, s.SeccompProfile, unix.RESOLVE_BENEATH, maxSeccompProfile)
	switch {
	case errors.Is(err, unix.EXDEV):
		return nil, fmt.Errorf("cannot load seccomp profile %q: it leads out of %s", path, dir)
	case err != nil:
		return nil, fmt.Errorf("cannot load seccomp profile %q: %w", path, err)
	}
	profile := &specs.LinuxSeccomp{}
	if err := json.Unmarshal(data, profile); err != nil {
		return nil, fmt.Errorf("decoding seccomp profile failed %q: %w", path, err)
	}
	if profile.DefaultAction == "" {
		return nil, fmt.Errorf("decoding seccomp profile failed %q: it has no defaultAction", path)
	}
	return profile, nil
}

// appArmorLoaded looks for a name in the kernel's list, a line of which is "name (mode)".
func appArmorLoaded(list, name string) error {
	f, err := os.Open(list)
	if err != nil {
		return fmt.Errorf("apparmor profile not found %s: %w", name, err)
	}
	defer f.Close()
	for lines := bufio.NewReader(f); ; {
		line, err := lines.ReadString('\n')
		if strings.HasPrefix(line, name+" (") {
			return nil
		}
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("apparmor profile not found %s", name)
		}
		if err != nil {
			return fmt.Errorf("apparmor profile not found %s: %w", name, err)
		}
	}
}

// LoadAppArmorDefault gives the kernel the profile AppArmorDefault, which is
// containerd's, unless it has it. It runs the program apparmor_parser.
func LoadAppArmorDefault() error {
	if err := apparmor.LoadDefaultProfile(AppArmorDefault); err != nil {
		return fmt.Errorf("load the AppArmor profile %s: %w", AppArmorDefault, err)
	}
	return nil
}

// appArmorEnabled asks as the kubelet does.
func appArmorEnabled(sys string) bool {
	if _, err := os.Stat(filepath.Join(sys, "kernel/security/apparmor")); err != nil {
		return false
	}
	on, err := os.ReadFile(filepath.Join(sys, "module/apparmor/parameters/enabled"))
	return err == nil && strings.HasPrefix(string(on), "Y")
}
