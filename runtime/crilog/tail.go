// SPDX-License-Identifier: Apache-2.0

package crilog

import (
	"bytes"
	"io"
	"os"
)

// openTail opens a chain so that n lines follow, or all there are. Pieces of
// one line count as one. (The kubelet counts pieces, and looks at the current
// file only.) Where pieces of the two streams are mixed, the first line may
// lack its beginning.
func openTail(path string, n int64, stream Stream) (*chain, error) {
	for {
		c, err := tryTail(path, n, stream)
		if c != nil || err != nil {
			return c, err
		}
	}
}

// tryTail returns nil and no error when the log was rotated meanwhile.
func tryTail(path string, n int64, stream Stream) (*chain, error) {
	names, err := logFiles(path)
	if err != nil {
		return nil, err
	}
	counter := lineCounter{want: n, stream: stream}
	for i := len(names) - 1; i >= 0; i-- {
		file, err := openFor(path, names, i)
		if os.IsNotExist(err) && i > 0 {
			continue // between two steps of a rotation
		}
		if file == nil || err != nil {
			return nil, err
		}
		offset, done, err := counter.scan(file)
		if err == nil && (done || i == 0) {
			if _, err = file.Seek(offset, io.SeekStart); err == nil {
				return &chain{path: path, file: file}, nil
			}
		}
		file.Close()
		if err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// lineCounter counts lines from the end of a log backwards.
type lineCounter struct {
	want   int64
	stream Stream // only this one's, unless ""
	seen   int64
	begun  bool // an entry was counted: pieces before a full one belong to it
}

// scan goes through one file backwards. It returns where the wanted lines
// begin, and whether that is known or an earlier file may hold more of them.
func (l *lineCounter) scan(file *os.File) (offset int64, done bool, err error) {
	end, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, false, err
	}
	var (
		start  = end // of what is in buf
		buf    []byte
		offend = end // of the last entry not looked at
	)
	for {
		// The entries that are whole in buf, last first; the one at its
		// beginning is whole only when the file begins there.
		for {
			body := bytes.TrimSuffix(buf, []byte{'\n'})
			i := bytes.LastIndexByte(body, '\n') + 1
			if len(buf) == 0 || i == 0 && start > 0 {
				break
			}
			if l.enough(body[i:]) {
				return offend, true, nil
			}
			buf = buf[:i]
			offend = start + int64(i)
		}
		if start == 0 {
			return 0, false, nil
		}
		n := min(start, readSize)
		start -= n
		block := make([]byte, n, n+int64(len(buf)))
		if _, err := file.ReadAt(block, start); err != nil {
			return 0, false, err
		}
		buf = append(block, buf...)
	}
}

// enough looks at the entry before those seen so far and tells whether it is
// the first that is not wanted any more.
func (l *lineCounter) enough(line []byte) bool {
	if l.want == 0 {
		return true
	}
	e, err := Parse(line)
	if err != nil || l.stream != "" && e.Stream != l.stream {
		return false
	}
	if e.Partial && l.begun {
		return false // an earlier piece of the line counted last
	}
	if l.seen == l.want {
		return true
	}
	l.seen++
	l.begun = true
	return false
}
