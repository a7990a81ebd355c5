// SPDX-License-Identifier: Apache-2.0

package crilog

import (
	"bytes"
	"errors"
	"fmt"
	"time"
)

// Stream names the output that an entry came from.
type Stream string

// The two streams that the format knows. A terminal's output is Stdout.
const (
	Stdout Stream = "stdout"
	Stderr Stream = "stderr"
)

// MaxLine is the longest content of one entry in bytes; a longer line is split
// into pieces of this size, as containerd's CRI does by default
// (max_container_log_line_size).
const MaxLine = 16 << 10

// stampFormat is RFC 3339 with all nine digits, so that stamps sort as text.
const stampFormat = "2006-01-02T15:04:05.000000000Z07:00"

// Entry is one line of a log file.
type Entry struct {
	Time   time.Time
	Stream Stream
	// Partial says that the line goes on in the next entry of the same stream.
	Partial bool
	// Content is the text without its newline. It is valid only until the
	// callback that was handed the entry returns.
	Content []byte
}

// Parse reads one line of a log file, given without its newline. The entry's
// content shares the line's memory. Tags may have more parts after a colon,
// which are ignored, as the kubelet does.
func Parse(line []byte) (Entry, error) {
	stamp, rest, ok := bytes.Cut(line, []byte{' '})
	if !ok {
		return Entry{}, errors.New("log entry: no time stamp")
	}
	t, err := time.Parse(time.RFC3339Nano, string(stamp))
	if err != nil {
		return Entry{}, fmt.Errorf("log entry: time stamp: %w", err)
	}
	name, rest, ok := bytes.Cut(rest, []byte{' '})
	if !ok {
		return Entry{}, errors.New("log entry: no stream")
	}
	e := Entry{Time: t}
	switch string(name) {
	case string(Stdout):
		e.Stream = Stdout
	case string(Stderr):
		e.Stream = Stderr
	default:
		return Entry{}, fmt.Errorf("log entry: stream %q is neither stdout nor stderr", name)
	}
	tags, content, ok := bytes.Cut(rest, []byte{' '})
	if !ok {
		return Entry{}, errors.New("log entry: no tag")
	}
	tag, _, _ := bytes.Cut(tags, []byte{':'})
	switch string(tag) {
	case "F":
	case "P":
		e.Partial = true
	default:
		return Entry{}, fmt.Errorf("log entry: tag %q is neither F nor P", tag)
	}
	e.Content = content
	return e, nil
}

// appendEntry appends the entry as a line of a log file. The content must hold
// no newline. The stamp is written in UTC.
func appendEntry(b []byte, stamp []byte, s Stream, partial bool, content []byte) []byte {
	b = append(b, stamp...)
	b = append(b, ' ')
	b = append(b, s...)
	if partial {
		b = append(b, " P "...)
	} else {
		b = append(b, " F "...)
	}
	b = append(b, content...)
	return append(b, '\n')
}

// entryOverhead is how many bytes appendEntry adds to the content at most.
const entryOverhead = len(stampFormat) + len(" stdout F ") + len("\n")
