// SPDX-License-Identifier: Apache-2.0

package check

import (
	"os"
	"strings"

	"github.com/minikubelet/minikubelet/volumes"
)

// volumeSizes tells whether persistent volumes can be kept to their size. It is a
// normal node that cannot.
func volumeSizes(dir string) Result {
	r := Result{Level: OK, Name: "volume sizes", Found: "enforced by project quotas"}
	if err := volumes.CanBound(existing(dir)); err != nil {
		r.Found = "promised, not enforced: " + err.Error()
	}
	return r
}

// nfsClient tells whether the kernel has an NFS client now. Volumes of the type nfs are
// not offered, but the host may mount them for hostPath volumes.
func nfsClient(filesystems string) Result {
	r := Result{Level: OK, Name: "NFS client", Found: "none in the kernel, or its module is not loaded"}
	if data, err := os.ReadFile(filesystems); err == nil && strings.Contains(string(data), "\tnfs4\n") {
		r.Found = "in the kernel: the host can mount nfs, for hostPath volumes and PersistentVolumes"
	}
	return r
}
