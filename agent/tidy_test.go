// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

// TestGiveBack: the program goes on as before with its pages given back, and takes
// less memory.
func TestGiveBack(t *testing.T) {
	if len(programPages()) < 2 { // code and read-only data
		t.Fatalf("found %v of the program", programPages())
	}
	before := fileKB(t)
	giveBack()
	after := fileKB(t)
	if after >= before {
		t.Errorf("%d kB of files before, %d kB after", before, after)
	}
	if got := strconv.Quote(strings.Repeat("x", 3)); got != `"xxx"` {
		t.Error(got)
	}
}

// fileKB is how much of the resident memory is files'.
func fileKB(t *testing.T) int {
	t.Helper()
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(data), "RssFile:")
	n, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return n
}
