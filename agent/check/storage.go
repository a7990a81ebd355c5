// SPDX-License-Identifier: Apache-2.0

package check

import (
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

// nfsClient tells whether nfs volumes can be mounted; few nodes need to.
func nfsClient() Result {
	r := Result{Level: OK, Name: "NFS client", Found: "in the kernel: nfs volumes can be mounted"}
	if err := volumes.CanMountNFS(); err != nil {
		r.Found = "no nfs volumes: " + err.Error()
	}
	return r
}
