// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestJournalHasPriorities(t *testing.T) {
	var out bytes.Buffer
	opts := &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}
	log := slog.New(newJournal(&out, func(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, opts) }))
	log.Debug("not shown")
	log.Info("one")
	log.With("pod", "p").Warn("two")
	log.WithGroup("g").Error("three", "a", 1)
	want := `<6>{"level":"INFO","msg":"one"}
<4>{"level":"WARN","msg":"two","pod":"p"}
<3>{"level":"ERROR","msg":"three","g":{"a":1}}
`
	if got := out.String(); got != want {
		t.Errorf("written:\n%swant:\n%s", got, want)
	}
}

func TestTheJournalIsKnownByItsStream(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "stream"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var s unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &s); err != nil {
		t.Fatal(err)
	}
	for stream, want := range map[string]bool{
		fmt.Sprintf("%d:%d", s.Dev, s.Ino): true, fmt.Sprintf("%d:%d", s.Dev, s.Ino+1): false, "": false,
	} {
		t.Setenv("JOURNAL_STREAM", stream)
		if got := toJournal(f); got != want {
			t.Errorf("JOURNAL_STREAM=%s: %v", stream, got)
		}
	}
}
