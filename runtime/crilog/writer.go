// SPDX-License-Identifier: Apache-2.0

package crilog

import (
	"bytes"
	"fmt"
	"os"
	"sync"
	"time"
)

// outSize is how many bytes of entries are gathered for one write.
const outSize = 32 << 10

// Writer appends the entries of one container to its log file and rotates it.
// No file grows past the target's MaxBytes, unless by a single entry that is
// larger. Its methods and those of its sinks are safe for concurrent use.
//
// A writer never fails once it is open. What the disk does not take (full, over
// quota, gone read-only) is dropped, whole entries at a time, and counted; when
// there is room again an entry on stderr says how much was lost, and the log
// goes on.
type Writer struct {
	target Target

	mu   sync.Mutex
	file *os.File
	size int64
	out  []byte
	lost Lost // not yet told in the log
	all  Lost
}

// Lost counts what a writer had to drop.
type Lost struct {
	Entries, Bytes int64
	// Err is the last error.
	Err error
}

// Open opens the target's file for appending and makes it, and its directories,
// when they are missing.
func Open(t Target) (*Writer, error) {
	t = t.withDefaults()
	if err := t.validate(); err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	file, size, err := openLog(t.Path)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	w := &Writer{target: t, file: file, size: size}
	if err := w.endTornEntry(); err != nil {
		file.Close()
		return nil, fmt.Errorf("open log: %w", err)
	}
	return w, nil
}

// endTornEntry ends the last line of a file that a crash of the machine cut
// short, so that the next entry starts on a line of its own.
func (w *Writer) endTornEntry() error {
	if w.size == 0 {
		return nil
	}
	f, err := os.Open(w.target.Path) // openLog saw a regular file; its descriptor is write-only
	if err != nil {
		return err
	}
	defer f.Close()
	var last [1]byte
	if _, err := f.ReadAt(last[:], w.size-1); err != nil {
		return err
	}
	if last[0] != '\n' {
		w.write([]byte{'\n'})
	}
	return nil
}

// Lost returns what was dropped since the writer was opened.
func (w *Writer) Lost() Lost {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.all
}

// Close closes the file. The sinks must be closed before; what is written to
// one later is dropped.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.out = nil
	return w.file.Close()
}

// Sink returns an io.Writer for one stream of the container.
func (w *Writer) Sink(s Stream) *Sink { return &Sink{writer: w, stream: s} }

// Sink cuts the bytes of one stream into entries. Each Write is on disk when it
// returns, but for a last line that has no newline yet: Close writes it as a
// partial entry, as containerd's CRI does. A sink is for one goroutine.
type Sink struct {
	writer  *Writer
	stream  Stream
	pending []byte // the start of a line, at most MaxLine bytes
}

// Write takes all of p and never fails; see Writer.
func (s *Sink) Write(p []byte) (int, error) {
	w := s.writer
	w.mu.Lock()
	defer w.mu.Unlock()
	stamp := stampNow()
	rest := p
	for len(rest) > 0 {
		line, after, full := bytes.Cut(rest, []byte{'\n'})
		rest = after
		if full {
			line = s.trimReturn(line)
		}
		line = s.splitLong(stamp, line)
		if !full {
			s.pending = append(s.pending, line...)
			continue
		}
		if len(s.pending) > 0 {
			s.pending = append(s.pending, line...)
			line = s.pending
		}
		w.add(stamp, s.stream, false, line)
		s.pending = s.pending[:0]
	}
	w.flush()
	return len(p), nil
}

// trimReturn drops the carriage return of a line that ended in one and a
// newline, as containerd's CRI does. It may have come with an earlier write.
func (s *Sink) trimReturn(line []byte) []byte {
	if len(line) > 0 {
		return bytes.TrimSuffix(line, []byte{'\r'})
	}
	s.pending = bytes.TrimSuffix(s.pending, []byte{'\r'})
	return line
}

// splitLong writes pieces of the line that begins in s.pending and goes on in
// line, as long as more than MaxLine bytes of it are known. It returns the part
// of line that is not yet written.
func (s *Sink) splitLong(stamp, line []byte) []byte {
	for len(s.pending)+len(line) > MaxLine {
		n := MaxLine - len(s.pending)
		piece := line[:n]
		if len(s.pending) > 0 {
			s.pending = append(s.pending, piece...)
			piece = s.pending
		}
		s.writer.add(stamp, s.stream, true, piece)
		s.pending = s.pending[:0]
		line = line[n:]
	}
	return line
}

// Close writes what is left of a line without a newline. The writer stays open.
func (s *Sink) Close() error {
	w := s.writer
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(s.pending) > 0 {
		w.add(stampNow(), s.stream, true, s.pending)
		s.pending = nil
		w.flush()
	}
	return nil
}

func stampNow() []byte {
	return time.Now().UTC().AppendFormat(make([]byte, 0, len(stampFormat)), stampFormat)
}

func (w *Writer) add(stamp []byte, s Stream, partial bool, content []byte) {
	if w.out == nil {
		w.out = make([]byte, 0, outSize)
	}
	if len(w.out)+len(content)+entryOverhead > cap(w.out) {
		w.flush()
	}
	w.out = appendEntry(w.out, stamp, s, partial, content)
}

// flush writes the gathered entries, each whole in one file.
func (w *Writer) flush() {
	if w.lost.Entries > 0 && len(w.out) > 0 {
		w.tellLost()
	}
	w.store(w.out)
	w.out = w.out[:0]
}

// store writes entries, rotating where they do not fit.
func (w *Writer) store(entries []byte) {
	for len(entries) > 0 {
		n := fitting(entries, w.target.MaxBytes-w.size)
		if n == 0 && w.size > 0 {
			if err := w.rotate(); err != nil {
				w.drop(entries, err)
				return
			}
			continue
		}
		if n == 0 { // larger than a whole file may be
			n = bytes.IndexByte(entries, '\n') + 1
		}
		w.write(entries[:n])
		entries = entries[n:]
	}
}

// fitting returns the length of the longest run of whole entries, from the
// first on, that is no longer than room.
func fitting(entries []byte, room int64) int {
	if int64(len(entries)) <= room {
		return len(entries)
	}
	if room <= 0 {
		return 0
	}
	return bytes.LastIndexByte(entries[:room], '\n') + 1
}

// write appends whole entries to the file. When not all of them could be
// written, it takes back the piece of an entry that was.
func (w *Writer) write(entries []byte) {
	n, err := w.file.Write(entries)
	w.size += int64(n)
	if err == nil {
		return
	}
	whole := bytes.LastIndexByte(entries[:n], '\n') + 1
	if torn := int64(n - whole); torn > 0 {
		if w.file.Truncate(w.size-torn) == nil {
			w.size -= torn
		}
	}
	w.drop(entries[whole:], err)
}

func (w *Writer) drop(entries []byte, err error) {
	for _, l := range []*Lost{&w.lost, &w.all} {
		l.Entries += int64(bytes.Count(entries, []byte{'\n'}))
		l.Bytes += int64(len(entries))
		l.Err = err
	}
}

// tellLost says in the log what is missing from it. While there is still no
// room the note is lost too, which counts for nothing.
func (w *Writer) tellLost() {
	lost, all := w.lost, w.all
	w.lost = Lost{}
	note := fmt.Sprintf("[minikubelet: %d log entries (%d bytes) are missing here: %v]", lost.Entries, lost.Bytes, lost.Err)
	w.store(appendEntry(nil, stampNow(), Stderr, false, []byte(note)))
	if w.lost.Entries > 0 {
		w.lost, w.all = lost, all
	}
}

// rotate sets the current file aside and begins a new one. A crash after any
// step leaves every entry in a file that readers find. On an error the old file
// stays current.
func (w *Writer) rotate() error {
	path := w.target.Path
	rotated, err := Rotated(path)
	if err != nil {
		return err
	}
	last := ""
	if len(rotated) > 0 {
		last = rotated[len(rotated)-1][len(path)+1:]
	}
	aside := path + "." + nextSuffix(time.Now(), last)
	renameErr := os.Rename(path, aside)
	if renameErr != nil && !os.IsNotExist(renameErr) { // somebody removed the log: just begin anew
		return renameErr
	}
	file, size, err := openLog(path)
	if err != nil {
		if renameErr == nil {
			_ = os.Rename(aside, path) // if not, the next rotation finds no current file and makes one
		}
		return err
	}
	w.file.Close()
	w.file, w.size = file, size
	if renameErr == nil {
		rotated = append(rotated, aside)
	}
	for len(rotated) > w.target.MaxFiles-1 {
		_ = os.Remove(rotated[0]) // if not, the next rotation tries again
		rotated = rotated[1:]
	}
	return nil
}
