// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"

	"golang.org/x/sys/unix"
)

// journal writes records for systemd's journal: each behind its priority, which the
// journal takes off and journalctl -p looks for (sd-daemon(3)).
type journal [4]slog.Handler

// priorities of the four levels, from debug on.
var priorities = [4]string{"<7>", "<6>", "<4>", "<3>"}

// newJournal has the records written that newHandler makes.
func newJournal(w io.Writer, newHandler func(w io.Writer) slog.Handler) journal {
	var j journal
	for i, p := range priorities {
		j[i] = newHandler(prefixed{w, p})
	}
	return j
}

// toJournal says whether the file is a stream to the journal: systemd names its device
// and inode.
func toJournal(f *os.File) bool {
	var s unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &s); err != nil {
		return false
	}
	return os.Getenv("JOURNAL_STREAM") == fmt.Sprintf("%d:%d", s.Dev, s.Ino)
}

func (j journal) Enabled(ctx context.Context, level slog.Level) bool {
	return j[0].Enabled(ctx, level)
}

func (j journal) Handle(ctx context.Context, r slog.Record) error {
	at := 0
	for i, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
		if r.Level >= level {
			at = i
		}
	}
	return j[at].Handle(ctx, r)
}

func (j journal) WithAttrs(attrs []slog.Attr) slog.Handler {
	for i := range j {
		j[i] = j[i].WithAttrs(attrs)
	}
	return j
}

func (j journal) WithGroup(name string) slog.Handler {
	for i := range j {
		j[i] = j[i].WithGroup(name)
	}
	return j
}

// prefixed writes each record, which slog gives it whole, behind a prefix.
type prefixed struct {
	w      io.Writer
	prefix string
}

func (p prefixed) Write(record []byte) (int, error) {
	n, err := p.w.Write(append([]byte(p.prefix), record...))
	return max(n-len(p.prefix), 0), err
}
