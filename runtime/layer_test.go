// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"context"
	"testing"
)

func TestLayerUsageGrowsWithWhatIsWritten(t *testing.T) {
	n := newNode(t)
	sandbox := n.runSandbox()
	c := n.container(sandbox, "head -c 3000000 /dev/zero >/written; sync /written; sleep 1000")
	n.run(c)
	n.eventually("3 MB in the writable layer", func() bool {
		bytes, inodes, err := n.runtime.LayerUsage(context.Background(), c.ID)
		if err != nil {
			t.Fatal(err)
		}
		return bytes >= 3000000 && inodes >= 1
	})
	if _, _, err := n.runtime.LayerUsage(context.Background(), newID()); err == nil {
		t.Error("a container that is not there has a usage")
	}
	n.removePod(sandbox)
}
