// SPDX-License-Identifier: Apache-2.0

package crilog

import (
	"context"
	"errors"
	"io"
	"time"
)

// Options say what to read of a log. The zero value reads all there is of both
// streams.
type Options struct {
	// Tail, when not nil, is how many lines to begin with, counted from the end
	// of the log over all its files.
	Tail *int64
	// Since leaves out what was written before.
	Since time.Time
	// Stream leaves out the other stream, unless it is "".
	Stream Stream
	// Follow waits for more until the context ends, or until Done is closed and
	// all that was written by then is read.
	Follow bool
	// Done is closed by the caller when nothing will be written any more.
	Done <-chan struct{}
	// Malformed, when set, is handed each line that is no log entry. They are
	// left out otherwise, as the kubelet does.
	Malformed func(line []byte, err error)
}

// Read hands the entries of the log at path, rotated files included, to emit in
// the order they were written. It returns emit's error, the context's, or one
// that is fs.ErrNotExist when there is no log at all. It needs no cooperation
// of the writer, which may be in another process and rotate at any time.
func Read(ctx context.Context, path string, opts Options, emit func(Entry) error) error {
	var wake waiter
	if opts.Follow {
		// Before the first read: what is written after it must wake us.
		wake = newWaiter(path)
		defer wake.Close()
	}
	c, err := open(path, opts)
	if err != nil {
		return err
	}
	defer func() { c.Close() }()

	take := func(line []byte, torn bool) error {
		e, err := Parse(line)
		if err != nil {
			if opts.Malformed != nil && len(line) > 0 {
				opts.Malformed(line, err)
			}
			return nil
		}
		if opts.Stream != "" && e.Stream != opts.Stream || e.Time.Before(opts.Since) {
			return nil
		}
		e.Partial = e.Partial || torn
		return emit(e)
	}
	// Each round reads this file to its end. Only a round that began after the
	// file was seen to be rotated, or the log to be finished, has read it all.
	last, finished := false, !opts.Follow
	for {
		if err := c.drain(ctx, take); err != nil {
			return err
		}
		rotated, err := c.rotated()
		switch {
		case err != nil:
			return err
		case rotated && !last:
			last = true
		case rotated:
			if err := take(c.rest(), true); err != nil {
				return err
			}
			if err := c.advance(); err != nil {
				return err
			}
			last = false
		case finished:
			return take(c.rest(), true)
		default:
			if finished, err = wake.Wait(ctx, opts.Done); err != nil {
				return err
			}
		}
	}
}

func open(path string, opts Options) (*chain, error) {
	if opts.Tail != nil && *opts.Tail >= 0 {
		return openTail(path, *opts.Tail, opts.Stream)
	}
	return openChain(path, opts.Since)
}

func (c *chain) drain(ctx context.Context, take func(line []byte, torn bool) error) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		line, err := c.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := take(line, false); err != nil {
			return err
		}
	}
}

// Format says how Copy writes.
type Format struct {
	// Timestamps puts the entry's time before each line.
	Timestamps bool
	// LimitBytes, when not nil, ends the output after so many bytes of both
	// streams together.
	LimitBytes *int64
}

var errLimit = errors.New("limit reached")

// Copy writes the log as a person wants to see it: pieces of lines joined,
// each stream to its writer. (Pieces of the two streams may be mixed, as they
// were written.) It returns nil at the end and at the limit; see Read.
func Copy(ctx context.Context, path string, opts Options, format Format, stdout, stderr io.Writer) error {
	left := int64(-1)
	if format.LimitBytes != nil {
		left = *format.LimitBytes
	}
	within := map[Stream]bool{} // the stream's last entry was a piece
	var line []byte
	err := Read(ctx, path, opts, func(e Entry) error {
		line = line[:0]
		if format.Timestamps && !within[e.Stream] {
			line = append(e.Time.AppendFormat(line, stampFormat), ' ')
		}
		line = append(line, e.Content...)
		if !e.Partial {
			line = append(line, '\n')
		}
		within[e.Stream] = e.Partial
		if left >= 0 && int64(len(line)) > left {
			line = line[:left]
		}
		w := stdout
		if e.Stream == Stderr {
			w = stderr
		}
		if _, err := w.Write(line); err != nil {
			return err
		}
		if left >= 0 {
			if left -= int64(len(line)); left == 0 {
				return errLimit
			}
		}
		return nil
	})
	if errors.Is(err, errLimit) {
		return nil
	}
	return err
}
