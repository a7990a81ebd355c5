// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// IDRanges gives Pods with a user namespace the users and groups of the machine that are theirs alone. As with the kubelet
// (https://kubernetes.io/docs/concepts/workloads/pods/user-namespaces/), ranges are of one size, begin at multiples of it, and keep
// clear of the first one, in which the machine's own users are.
//
// What is taken is seen in the names of the pinned user namespaces and kept nowhere else: UnpinNamespaces gives it back, and what a
// crash leaves goes with the Pod's other namespaces. It is safe for concurrent use.
type IDRanges struct {
	dir         string
	first, size uint32
	count       uint32

	mu sync.Mutex
}

// idUnit is what the size and the beginning of ranges are multiples of, as in the kubelet: a range is to have all IDs of 16 bits.
const idUnit = 1 << 16

// NewIDRanges divides the IDs from first on, length of them, into ranges of size. dir is the directory with the Pods' directories of
// pinned namespaces, by UID. It refuses what the kubelet refuses.
func NewIDRanges(dir string, first, length, size uint32) (*IDRanges, error) {
	switch {
	case size == 0 || size%idUnit != 0:
		return nil, fmt.Errorf("%d IDs for each Pod are no multiple of %d", size, idUnit)
	case first < size:
		return nil, fmt.Errorf("the first ID %d must not be less than the %d IDs of each Pod: those before are the machine's own", first, size)
	case first%size != 0:
		return nil, fmt.Errorf("the first ID %d is no multiple of the %d IDs of each Pod", first, size)
	case length < size || length%size != 0:
		return nil, fmt.Errorf("%d IDs are no multiple of the %d of each Pod", length, size)
	case uint64(first)+uint64(length) >= 1<<32: // the last ID of all stands for none
		return nil, fmt.Errorf("%d IDs from %d on are more than there are", length, first)
	}
	return &IDRanges{dir: dir, first: first, size: size, count: length / size}, nil
}

// Count is how many Pods can have a range.
func (r *IDRanges) Count() int { return int(r.count) }

// Example is a range such as Pods get.
func (r *IDRanges) Example() specs.LinuxIDMapping { return r.at(0) }

func (r *IDRanges) at(i uint32) specs.LinuxIDMapping {
	return specs.LinuxIDMapping{HostID: r.first + i*r.size, Size: r.size}
}

// Take gives the Pod the range that it has, or one that no other Pod has. Where the search begins depends on the UID: a Pod whose
// namespaces are made anew is likely to get the same again, and the Pods of two agents on a machine to get different ones.
func (r *IDRanges) Take(uid string) (specs.LinuxIDMapping, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	taken, err := r.taken()
	if err != nil {
		return specs.LinuxIDMapping{}, fmt.Errorf("user namespace: %w", err)
	}
	if ids, ok := taken[uid]; ok {
		return ids, nil
	}
	h := fnv.New32a()
	h.Write([]byte(uid))
	for i := range r.count {
		ids := r.at(uint32((uint64(h.Sum32()) + uint64(i)) % uint64(r.count)))
		if overlaps(taken, ids) {
			continue
		}
		dir := filepath.Join(r.dir, uid)
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return specs.LinuxIDMapping{}, fmt.Errorf("user namespace: %w", err)
		}
		f, err := os.OpenFile(filepath.Join(dir, userPin(ids)), os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o444)
		if err != nil {
			return specs.LinuxIDMapping{}, fmt.Errorf("user namespace: %w", err)
		}
		return ids, f.Close()
	}
	return specs.LinuxIDMapping{}, errors.New("could not find an empty slot to allocate a user namespace")
}

// taken are the ranges that Pods have, by UID.
func (r *IDRanges) taken() (map[string]specs.LinuxIDMapping, error) {
	pods, err := os.ReadDir(r.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	taken := make(map[string]specs.LinuxIDMapping, len(pods))
	for _, pod := range pods {
		if !pod.IsDir() {
			continue
		}
		dir := filepath.Join(r.dir, pod.Name())
		pins, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // one that ends right now has none
			return nil, err
		}
		for _, pin := range pins {
			if !strings.HasPrefix(pin.Name(), userPrefix) {
				continue
			}
			var ids specs.LinuxIDMapping
			if n, err := fmt.Sscanf(pin.Name(), userPrefix+"%d-%d", &ids.HostID, &ids.Size); n != 2 || err != nil {
				return nil, fmt.Errorf("%s is not the name of a pinned user namespace", filepath.Join(dir, pin.Name()))
			}
			taken[pod.Name()] = ids
		}
	}
	return taken, nil
}

func overlaps(taken map[string]specs.LinuxIDMapping, ids specs.LinuxIDMapping) bool {
	for _, t := range taken {
		if uint64(t.HostID) < uint64(ids.HostID)+uint64(ids.Size) && uint64(ids.HostID) < uint64(t.HostID)+uint64(t.Size) {
			return true
		}
	}
	return false
}

const userPrefix = "user-"

// userPin is the name of the file on which a user namespace with these IDs is pinned.
func userPin(ids specs.LinuxIDMapping) string {
	return fmt.Sprintf("%s%d-%d", userPrefix, ids.HostID, ids.Size)
}
