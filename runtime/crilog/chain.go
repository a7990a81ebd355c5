// SPDX-License-Identifier: Apache-2.0

package crilog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"
)

// readSize is how much is read at a time; maxRaw is the longest line that is
// looked at, many times what the writer makes.
const (
	readSize = 64 << 10
	maxRaw   = 1 << 20
)

// chain reads the lines of a log from one of its files through all that came
// after it, while they are being rotated.
type chain struct {
	path string
	file *os.File
	buf  []byte // read and not yet handed out
	off  int    // where in buf the next line starts
	skip bool   // within a line longer than maxRaw
}

// openChain starts at the oldest file that has entries from since on (all of
// them, when it is zero).
func openChain(path string, since time.Time) (*chain, error) {
	for {
		names, err := logFiles(path)
		if err != nil {
			return nil, err
		}
		first := 0
		for first < len(names)-1 && endsBefore(names[first], since) {
			first++
		}
		file, err := openFor(path, names, first)
		if os.IsNotExist(err) && first > 0 {
			file, err = openFor(path, names, first-1) // between two steps of a rotation
		}
		if err != nil {
			return nil, err
		}
		if file != nil {
			return &chain{path: path, file: file}, nil
		}
	}
}

// endsBefore tells whether nothing was written to the file since then. The
// kernel's file times may lag its clock by a tick.
func endsBefore(name string, since time.Time) bool {
	info, err := os.Stat(name)
	return err == nil && info.ModTime().Add(time.Second).Before(since)
}

// logFiles returns the rotated files and then the path itself, which need not
// exist.
func logFiles(path string) ([]string, error) {
	names, err := Rotated(path)
	if err != nil {
		return nil, err
	}
	return append(names, path), nil
}

// openFor opens names[i]. It returns nil and no error when the names turn out to
// be out of date and the caller must list them again: files were rotated or
// deleted since, or the listing missed one that was renamed while it was read,
// which the kernel does not exclude. A second listing tells: what was there when
// it began is in it.
func openFor(path string, names []string, i int) (*os.File, error) {
	file, err := os.Open(names[i])
	if err != nil && (!os.IsNotExist(err) || len(names) == 1) {
		return nil, err
	}
	again, lerr := logFiles(path)
	if lerr == nil && err == nil && follows(again, names, i) {
		return file, nil
	}
	if file != nil {
		file.Close()
	}
	if lerr != nil {
		return nil, lerr
	}
	if err != nil && names[i] == path && slices.Equal(again, names) {
		return nil, err // the current file is really missing
	}
	return nil, nil
}

// follows tells whether a second listing has the same file before names[i] as the
// first, or none because it was deleted. The current file's name passes on from
// file to file, so for it nothing at all may have changed.
func follows(again, names []string, i int) bool {
	if i == len(names)-1 {
		return slices.Equal(again, names)
	}
	j := slices.Index(again, names[i])
	return j == 0 || j > 0 && i > 0 && again[j-1] == names[i-1]
}

func (c *chain) Close() error { return c.file.Close() }

// next returns the next line without its newline, valid until the next call. It
// returns io.EOF when there is no complete line (yet) in this file.
func (c *chain) next() ([]byte, error) {
	for {
		if i := bytes.IndexByte(c.buf[c.off:], '\n'); i >= 0 {
			line := c.buf[c.off : c.off+i]
			c.off += i + 1
			if c.skip {
				c.skip = false
				continue
			}
			return line, nil
		}
		if len(c.buf)-c.off > maxRaw {
			c.off, c.skip = len(c.buf), true
		}
		c.buf = append(c.buf[:0], c.buf[c.off:]...)
		c.off = 0
		c.buf = slices.Grow(c.buf, readSize)
		n, err := c.file.Read(c.buf[len(c.buf) : len(c.buf)+readSize])
		c.buf = c.buf[:len(c.buf)+n]
		if n == 0 {
			if err == nil {
				err = io.ErrNoProgress
			}
			return nil, err
		}
	}
}

// rest takes what follows the last newline of this file.
func (c *chain) rest() []byte {
	rest := c.buf[c.off:]
	if c.skip {
		rest = nil
	}
	c.off, c.skip = len(c.buf), false
	return rest
}

// rotated tells whether the file is no longer the current one.
func (c *chain) rotated() (bool, error) {
	mine, err := c.file.Stat()
	if err != nil {
		return false, err
	}
	current, err := os.Stat(c.path)
	if os.IsNotExist(err) {
		names, err := Rotated(c.path)
		if err != nil || len(names) == 0 {
			return false, err // removed: nothing comes after it
		}
		newest, err := os.Stat(names[len(names)-1])
		// Between two steps of a rotation, or after a crash there: mine is the newest.
		return err == nil && !os.SameFile(mine, newest), nil
	}
	if err != nil {
		return false, err
	}
	return !os.SameFile(mine, current), nil
}

// advance goes on to the file after this one, which must be rotated and read
// to its end. When it is deleted by now, so were all before it, and the next is
// the oldest there is.
func (c *chain) advance() error {
	mine, err := c.file.Stat()
	if err != nil {
		return err
	}
	for {
		names, err := logFiles(c.path)
		if err != nil {
			return err
		}
		next := 0
		for i, name := range names {
			if info, err := os.Stat(name); err == nil && os.SameFile(mine, info) {
				next = i + 1
			}
		}
		if next == len(names) {
			return errors.New("log: the current file was not rotated")
		}
		file, err := openFor(c.path, names, next)
		if err != nil {
			return fmt.Errorf("log: the file after %s: %w", c.file.Name(), err)
		}
		if file == nil {
			continue
		}
		c.file.Close()
		c.file, c.buf, c.off, c.skip = file, c.buf[:0], 0, false
		return nil
	}
}
