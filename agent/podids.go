// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"strconv"
	"strings"

	"github.com/moby/sys/user"

	"github.com/minikubelet/minikubelet/agent/check"
	"github.com/minikubelet/minikubelet/runtime"
)

// subIDUser is whose subordinate IDs Pods get, as with the kubelet:
// https://kubernetes.io/docs/concepts/workloads/pods/user-namespaces/#set-up-a-node-to-support-user-namespaces
const subIDUser = "kubelet"

// lastPodID is the last user that Pods have by default: some programs take those
// beyond for negative.
const lastPodID = math.MaxInt32

// idRanges are the IDs of the machine for Pods with a user namespace.
func (c *Config) idRanges() (*runtime.IDRanges, error) {
	if c.IDsPerPod <= 0 || c.IDsPerPod > lastPodID {
		return nil, fmt.Errorf("idsPerPod %d: must be a multiple of 65536", c.IDsPerPod)
	}
	size := uint32(c.IDsPerPod)
	source := "podIDs " + c.PodIDs
	first, length, err := parsePodIDs(c.PodIDs)
	if c.PodIDs == "" {
		source = "IDs of user " + subIDUser + " in /etc/subuid and /etc/subgid"
		first, length, err = subIDs("/etc/subuid", "/etc/subgid")
	}
	if c.PodIDs == "" && err == nil && length == 0 {
		source = "idsPerPod"
		first, length = size, (lastPodID+1)/size*size-size
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", source, err)
	}
	ranges, err := runtime.NewIDRanges(c.netnsDir(), first, length, size)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", source, err)
	}
	if ranges.Count() < c.MaxPods {
		return nil, fmt.Errorf("%s: they are enough for %d Pods, and maxPods is %d", source, ranges.Count(), c.MaxPods)
	}
	return ranges, nil
}

// userNamespaces tells why Pods cannot have a user namespace. It is looked for when it
// is first asked, and again as long as it lacks something.
func (a *Agent) userNamespaces() error {
	if a.mapsUsers.Load() {
		return nil
	}
	err := check.UserNamespaces(a.cfg.DataDir, a.cfg.RunDir)
	a.mapsUsers.Store(err == nil)
	return err
}

func parsePodIDs(s string) (first, length uint32, err error) {
	a, b, ok := strings.Cut(s, ":")
	x, err1 := strconv.ParseUint(a, 10, 32)
	y, err2 := strconv.ParseUint(b, 10, 32)
	if !ok || err1 != nil || err2 != nil {
		return 0, 0, errors.New("must be the first ID and their number, like 65536:2147418112")
	}
	return uint32(x), uint32(y), nil
}

// subIDs reads the subordinate IDs that an administrator has set aside, subuid(5). None
// is no error.
func subIDs(uids, gids string) (first, length uint32, err error) {
	var found [2][]user.SubID
	for i, path := range []string{uids, gids} {
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, 0, err
		}
		found[i], err = user.ParseSubIDFilter(f, func(s user.SubID) bool { return s.Name == subIDUser })
		f.Close()
		if err != nil {
			return 0, 0, fmt.Errorf("%s: %w", path, err)
		}
	}
	switch {
	case len(found[0]) == 0 && len(found[1]) == 0:
		return 0, 0, nil
	case len(found[0]) != 1 || len(found[1]) != 1 || found[0][0] != found[1][0]:
		return 0, 0, errors.New("there must be one range, the same in both files")
	case found[0][0].SubID < 0 || found[0][0].SubID > math.MaxUint32 || found[0][0].Count < 0 || found[0][0].Count > math.MaxUint32:
		return 0, 0, errors.New("the range is not one of IDs of 32 bits")
	}
	return uint32(found[0][0].SubID), uint32(found[0][0].Count), nil
}
