// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"encoding/binary"
	"os"
	"testing"
)

// commits counts the transactions that were ever committed to the node's databases on disk: two synchronisations of the disk each.
func (n *node) commits() int {
	return n.committed("root/io.containerd.metadata.v1.bolt/meta.db") + n.committed("root/io.containerd.snapshotter.v1.overlayfs/metadata.db")
}

// committed reads the number of the last transaction from a bolt database's two meta pages, of which either may be the newer.
func (n *node) committed(path string) int {
	n.t.Helper()
	data := make([]byte, 2*os.Getpagesize())
	f, err := os.Open(n.dir + "/" + path)
	if err != nil {
		n.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.ReadAt(data, 0); err != nil {
		n.t.Fatal(err)
	}
	const txid = 16 + 48 // the page's header, and what is before the number in it
	return int(max(binary.NativeEndian.Uint64(data[txid:]), binary.NativeEndian.Uint64(data[os.Getpagesize()+txid:])))
}

// TestCommits bounds how often a Pod's start and end make the disk synchronise: on an eMMC each time costs 5 ms and more.
func TestCommits(t *testing.T) {
	n := newNode(t)
	warm := n.sandbox()
	n.create(warm) // unpacks the image
	n.removePod(warm)
	n.collectGarbage()
	before := n.commits()
	spent := func(what string, atMost int) {
		t.Helper()
		after := n.commits()
		if spent := after - before; spent > atMost {
			t.Errorf("%s took %d transactions, more than %d", what, spent, atMost)
		} else {
			t.Logf("%s took %d transactions", what, spent)
		}
		before = after
	}
	sandbox := n.runSandbox()
	c := n.container(sandbox, "sleep 1000")
	n.run(c)
	ctx := n.engine.Context(t.Context())
	n.eventually("the start is on record", func() bool {
		record, err := n.engine.Client().ContainerService().Get(ctx, c.ID)
		return err == nil && record.Labels[labelStartedAt] != ""
	})
	spent("the start", 2+2+2) // records with snapshots, snapshots, start times at one or two moments
	n.removePod(sandbox)
	n.collectGarbage()
	spent("the removal", 2+2) // records, garbage
}

// collectGarbage waits until the engine has given the disk space of removed containers back.
func (n *node) collectGarbage() {
	n.t.Helper()
	n.eventually("only the image is left on disk", func() bool {
		left, err := os.ReadDir(n.dir + "/root/io.containerd.snapshotter.v1.overlayfs/snapshots")
		return err == nil && len(left) == 1
	})
}
