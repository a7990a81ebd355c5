// SPDX-License-Identifier: Apache-2.0

package spec

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/pkg/cap"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/moby/sys/mountinfo"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// DetectNode looks at the machine and at the agent's own process. Nothing of
// it changes while the agent runs.
func DetectNode() (Node, error) {
	var n Node
	var err error
	if n.Capabilities, err = cap.Current(); err != nil {
		return Node{}, fmt.Errorf("capabilities of this process: %w", err)
	}
	n.OOMScoreAdjFloor = -1000
	if !slices.Contains(n.Capabilities, "CAP_SYS_RESOURCE") {
		if n.OOMScoreAdjFloor, err = ownOOMScoreAdj(); err != nil {
			return Node{}, err
		}
	}
	// A filter at address 0 sets nothing: EFAULT comes from a kernel that
	// would have read it, EINVAL from one without seccomp filters.
	err = unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, 0, 0, 0)
	n.NoSeccomp = errors.Is(err, unix.EINVAL)
	if n.AppArmor = appArmorEnabled("/sys"); n.AppArmor {
		n.AppArmorDefault = AppArmorDefault
	}
	if n.CgroupV2, n.CgroupMountOptions, err = unifiedCgroups(); err != nil {
		return Node{}, err
	}
	// Temperature counters of the processors, by which a container could
	// learn of its neighbours' work.
	n.MaskedPaths, err = filepath.Glob("/sys/devices/system/cpu/cpu[0-9]*/thermal_throttle")
	return n, err
}

func ownOOMScoreAdj() (int, error) {
	b, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}

func unifiedCgroups() (v2 bool, options []string, err error) {
	const at = "/sys/fs/cgroup"
	var st unix.Statfs_t
	if err := unix.Statfs(at, &st); err != nil {
		return false, nil, fmt.Errorf("%s: %w: mount the control groups there", at, err)
	}
	if st.Type != unix.CGROUP2_SUPER_MAGIC {
		return false, nil, nil
	}
	infos, err := mountinfo.GetMounts(mountinfo.SingleEntryFilter(at))
	if err != nil || len(infos) == 0 {
		return true, nil, err
	}
	for _, o := range strings.Split(infos[0].VFSOptions, ",") {
		if o == "nsdelegate" || o == "memory_recursiveprot" {
			options = append(options, o)
		}
	}
	return true, options, nil
}

// HostDevices lists the device nodes in /dev, for privileged containers.
func HostDevices() ([]specs.LinuxDevice, error) {
	d, err := oci.HostDevices()
	if err != nil {
		return nil, fmt.Errorf("devices of the host: %w", err)
	}
	return d, nil
}
