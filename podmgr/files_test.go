// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestReadEnd: of a long message the end counts, and half a character is none.
func TestReadEnd(t *testing.T) {
	file := filepath.Join(t.TempDir(), "message")
	for name, tt := range map[string]struct{ text, want string }{
		"empty":            {"", ""},
		"short":            {"brief", "brief"},
		"all of it":        {"12345678", "12345678"},
		"long":             {"start 12345678", "12345678"},
		"cut in the midst": {"start \u00e91234567", "1234567"},
		"not text":         {"a\xff", "a\uFFFD"},
	} {
		if err := os.WriteFile(file, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := readEnd(file, 8); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
	link := file + ".link"
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	if got := readEnd(link, 8); got != "" {
		t.Errorf("a link is followed: %q", got)
	}
	if got := readEnd(file+strings.Repeat("x", 3), 8); got != "" {
		t.Errorf("nothing is there: %q", got)
	}
}

func TestLastBytes(t *testing.T) {
	long := strings.Repeat("0123456789", fallbackBytes)
	for _, size := range []int{1, 1000, fallbackBytes, fallbackBytes + 1, len(long)} {
		var l lastBytes
		for rest := long; rest != ""; {
			n, err := l.Write([]byte(rest[:min(size, len(rest))]))
			if err != nil || n == 0 {
				t.Fatal(n, err)
			}
			rest = rest[n:]
			if cap(l) > 3*fallbackBytes {
				t.Fatalf("writes of %d bytes: %d bytes are kept", size, cap(l))
			}
		}
		if want := long[len(long)-fallbackBytes:]; string(l) != want {
			t.Errorf("writes of %d bytes: %d bytes are left, or others", size, len(l))
		}
	}
	l := lastBytes{}
	_, _ = l.Write([]byte("short"))
	if string(l) != "short" {
		t.Errorf("%q", l)
	}
}
