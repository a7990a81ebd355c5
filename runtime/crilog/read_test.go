// SPDX-License-Identifier: Apache-2.0

package crilog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestParse(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	for line, want := range map[string]Entry{
		"2026-01-02T03:04:05.000000006Z stdout F text":           {at, Stdout, false, []byte("text")},
		"2026-01-02T03:04:05.000000006Z stderr P a b":            {at, Stderr, true, []byte("a b")},
		"2026-01-02T05:04:05.000000006+02:00 stdout F:x=y:z  t ": {at, Stdout, false, []byte(" t ")},
		"2026-01-02T03:04:05.000000006Z stdout F ":               {at, Stdout, false, nil},
	} {
		got, err := Parse([]byte(line))
		if err != nil || !got.Time.Equal(want.Time) || got.Stream != want.Stream || got.Partial != want.Partial || !bytes.Equal(got.Content, want.Content) {
			t.Errorf("%q: %+v, %v; want %+v", line, got, err, want)
		}
	}
	for _, line := range []string{
		"", "text", "2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z stdout", "2026-01-02T03:04:05Z stdout F",
		"2026-01-02T03:04:05Z stdin F x", "2026-01-02T03:04:05Z stdout X x", "yesterday stdout F x",
	} {
		if e, err := Parse([]byte(line)); err == nil {
			t.Errorf("%q is taken for %+v", line, e)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("2026-01-02T03:04:05.000000006Z stdout F text"))
	f.Add([]byte("2026-01-02T03:04:05+02:00 stderr P:a:b \xff"))
	f.Fuzz(func(t *testing.T, line []byte) {
		e, err := Parse(line)
		if err != nil || bytes.IndexByte(line, '\n') >= 0 || e.Time.UTC().Year() > 9999 || e.Time.UTC().Year() < 0 {
			return
		}
		stamp := e.Time.UTC().AppendFormat(nil, stampFormat)
		out := appendEntry(nil, stamp, e.Stream, e.Partial, e.Content)
		again, err := Parse(bytes.TrimSuffix(out, []byte{'\n'}))
		if err != nil || !again.Time.Equal(e.Time) || again.Stream != e.Stream || again.Partial != e.Partial || !bytes.Equal(again.Content, e.Content) {
			t.Fatalf("%q was written as %q and read as %+v, %v", line, out, again, err)
		}
	})
}

func TestTarget(t *testing.T) {
	for _, want := range []Target{
		{Path: "/var/log/pods/ns_pod_uid/app/0.log", MaxBytes: DefaultMaxBytes, MaxFiles: DefaultMaxFiles},
		{Path: "/a b/%41?x#y&z=1/0.log", MaxBytes: 1, MaxFiles: 2, Attach: "/run/a b&c", Stdin: true},
	} {
		if got, err := ParseTarget(want.URI().String()); err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", want.URI(), got, err, want)
		}
	}
	if got := (Target{Path: "/x/0.log"}).URI().String(); got != "cri:///x/0.log?files=5&max=10485760" {
		t.Errorf("URI with defaults: %s", got)
	}
	if got, err := ParseTarget("cri:///x/0.log"); err != nil || got != (Target{Path: "/x/0.log", MaxBytes: DefaultMaxBytes, MaxFiles: DefaultMaxFiles}) {
		t.Errorf("URI without a query: %+v, %v", got, err)
	}
	for _, uri := range []string{
		"", "/x/0.log", "file:///x/0.log", "cri://host/x/0.log", "cri:x/0.log", "cri:///", "cri:///x/../y", "cri:///x/",
		"cri:///x?files=1", "cri:///x?max=-1", "cri:///x?max=1k", "cri:///x?max=1&max=2", "cri:///x?mode=1", "cri:///x?%zz",
	} {
		if got, err := ParseTarget(uri); err == nil {
			t.Errorf("%q is taken for %+v", uri, got)
		}
	}
}

// Tail gives the last lines of all there are, whatever the files' sizes.
func TestTail(t *testing.T) {
	base := t.TempDir()
	runs := 0
	rapid.Check(t, func(t *rapid.T) {
		runs++
		path := filepath.Join(base, fmt.Sprint(runs), "0.log")
		w, err := Open(Target{Path: path, MaxBytes: rapid.Int64Range(60, 2000).Draw(t, "limit"), MaxFiles: 1 << 30})
		if err != nil {
			t.Fatal(err)
		}
		sink := w.Sink(Stdout)
		var lines []string
		for i := range rapid.IntRange(0, 60).Draw(t, "lines") {
			size := rapid.SampledFrom([]int{0, 3, 50, MaxLine, 2*MaxLine + 1}).Draw(t, "size")
			if i%10 != 0 {
				size %= 100
			}
			lines = append(lines, strings.Repeat(fmt.Sprint(i%10), size)+"\n")
		}
		if len(lines) > 0 && rapid.Bool().Draw(t, "no newline at the end") {
			lines[len(lines)-1] = "prompt> "
		}
		sink.Write([]byte(strings.Join(lines, "")))
		sink.Close()
		w.Close()

		n := rapid.Int64Range(0, 70).Draw(t, "tail")
		var got bytes.Buffer
		if err := Copy(context.Background(), path, Options{Tail: &n}, Format{}, &got, nil); err != nil {
			t.Fatal(err)
		}
		if want := strings.Join(lines[max(0, len(lines)-int(n)):], ""); got.String() != want {
			t.Fatalf("tail %d: %.300q, want %.300q", n, got.String(), want)
		}
	})
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
}

func TestCopy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	writeFile(t, path+".20260101-000000", "2026-01-01T00:00:01Z stdout F old\n")
	writeFile(t, path+".20260101-000000.gz", "not ours")
	writeFile(t, path, `2026-01-01T00:00:02Z stdout P one 
2026-01-01T00:00:03Z stderr F two
what is this
2026-01-01T00:00:04Z stdout F three
`)
	in := func(n int64) *int64 { return &n }
	since := time.Date(2026, 1, 1, 0, 0, 3, 0, time.UTC)
	for name, c := range map[string]struct {
		opts           Options
		format         Format
		stdout, stderr string
	}{
		"all":        {Options{}, Format{}, "old\none three\n", "two\n"},
		"timestamps": {Options{}, Format{Timestamps: true}, "2026-01-01T00:00:01.000000000Z old\n2026-01-01T00:00:02.000000000Z one three\n", "2026-01-01T00:00:03.000000000Z two\n"},
		"since":      {Options{Since: since}, Format{}, "three\n", "two\n"},
		"stdout":     {Options{Stream: Stdout}, Format{}, "old\none three\n", ""},
		"stderr":     {Options{Stream: Stderr}, Format{}, "", "two\n"},
		"tail 1":     {Options{Tail: in(1), Stream: Stdout}, Format{}, "one three\n", ""},
		"tail 0":     {Options{Tail: in(0)}, Format{}, "", ""},
		"tail many":  {Options{Tail: in(9)}, Format{}, "old\none three\n", "two\n"},
		"limit":      {Options{}, Format{LimitBytes: in(6)}, "old\non", ""},
		"limit 0":    {Options{}, Format{LimitBytes: in(0)}, "", ""},
		"limit all":  {Options{}, Format{LimitBytes: in(99)}, "old\none three\n", "two\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if err := Copy(context.Background(), path, c.opts, c.format, &stdout, &stderr); err != nil {
				t.Fatal(err)
			}
			if stdout.String() != c.stdout || stderr.String() != c.stderr {
				t.Errorf("got %q and %q, want %q and %q", &stdout, &stderr, c.stdout, c.stderr)
			}
		})
	}
}

func TestReadWithoutALog(t *testing.T) {
	n := int64(3)
	for _, path := range []string{filepath.Join(t.TempDir(), "0.log"), filepath.Join(t.TempDir(), "no", "0.log")} {
		for _, opts := range []Options{{}, {Tail: &n}, {Follow: true}, {Since: time.Now()}} {
			if err := Read(context.Background(), path, opts, func(Entry) error { return nil }); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%+v: %v, want that it does not exist", opts, err)
			}
		}
	}
}

// A crash between the two steps of a rotation leaves no current file.
func TestReadBetweenTheStepsOfARotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	writeFile(t, path+".20260101-000000", "2026-01-01T00:00:01Z stdout F one\n")
	n := int64(1)
	for _, opts := range []Options{{}, {Tail: &n}, {Since: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}} {
		var got bytes.Buffer
		if err := Copy(context.Background(), path, opts, Format{}, &got, &got); err != nil || got.String() != "one\n" {
			t.Errorf("%+v: %q, %v", opts, &got, err)
		}
	}
}

// A follower sees every line once and in order while files are rotated and the
// oldest deleted, and ends when it is told that nothing more comes.
func TestFollowOverRotations(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	w := mustOpen(t, Target{Path: path, MaxBytes: 4000, MaxFiles: 1000})
	defer w.Close()
	const total = 20000
	done := make(chan struct{})
	go func() {
		defer close(done)
		sink := w.Sink(Stdout)
		for i := range total {
			fmt.Fprintf(sink, "line %d\n", i)
			if i%1000 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
	}()
	next := 0
	err := Read(context.Background(), path, Options{Follow: true, Done: done}, func(e Entry) error {
		if want := fmt.Sprintf("line %d", next); string(e.Content) != want {
			return fmt.Errorf("read %q, want %q", e.Content, want)
		}
		next++
		return nil
	})
	if err != nil || next != total {
		t.Errorf("%d of %d lines, %v", next, total, err)
	}
}

func TestFollowIsPrompt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	w := mustOpen(t, Target{Path: path, MaxBytes: 500})
	defer w.Close()
	ctx, cancel := context.WithCancel(context.Background())
	seen := make(chan time.Duration)
	var wg sync.WaitGroup
	wg.Go(func() {
		err := Read(ctx, path, Options{Follow: true}, func(e Entry) error {
			seen <- time.Since(e.Time)
			return nil
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("follow ended with %v", err)
		}
	})
	sink := w.Sink(Stdout)
	best := time.Hour
	for range 30 { // over several rotations; each is waited for
		time.Sleep(2 * time.Millisecond)
		fmt.Fprintln(sink, "a line")
		select {
		case d := <-seen:
			best = min(best, d)
		case <-time.After(5 * time.Second):
			t.Fatal("a line was not seen within 5 s")
		}
	}
	if best > 20*time.Millisecond {
		t.Errorf("the quickest line took %v", best)
	}
	cancel()
	wg.Wait()
}
