// SPDX-License-Identifier: Apache-2.0

package crilog

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

func mustOpen(t testing.TB, target Target) *Writer {
	t.Helper()
	w, err := Open(target)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// entries reads the log and returns "stream tag content" for each entry.
func entries(t testing.TB, path string) []string {
	t.Helper()
	var got []string
	opts := Options{Malformed: func(line []byte, err error) { t.Errorf("malformed %q: %v", line, err) }}
	err := Read(context.Background(), path, opts, func(e Entry) error {
		tag := "F"
		if e.Partial {
			tag = "P"
		}
		got = append(got, fmt.Sprintf("%s %s %s", e.Stream, tag, e.Content))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestSinkCutsLines(t *testing.T) {
	long := strings.Repeat("x", MaxLine)
	for name, c := range map[string]struct {
		writes []string
		want   []string
	}{
		"full lines":            {[]string{"a\nb\n"}, []string{"F a", "F b"}},
		"empty line":            {[]string{"\n"}, []string{"F "}},
		"line in pieces":        {[]string{"a", "b", "c\nd\n"}, []string{"F abc", "F d"}},
		"no newline at the end": {[]string{"a\nb"}, []string{"F a", "P b"}},
		"carriage return":       {[]string{"a\r\nb\rc\n"}, []string{"F a", "F b\rc"}},
		"split carriage return": {[]string{"a\r", "\n"}, []string{"F a"}},
		"two carriage returns":  {[]string{"a\r\r\n"}, []string{"F a\r"}},
		"longest line":          {[]string{long + "\n"}, []string{"F " + long}},
		"one too long":          {[]string{long + "y\n"}, []string{"P " + long, "F y"}},
		"too long in pieces":    {[]string{long[:9999], long, long + "\n"}, []string{"P " + long, "P " + long, "F " + long[:9999]}},
		"long and no newline":   {[]string{long + long}, []string{"P " + long, "P " + long}},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "0.log")
			w := mustOpen(t, Target{Path: path})
			sink := w.Sink(Stdout)
			for _, p := range c.writes {
				if n, err := sink.Write([]byte(p)); n != len(p) || err != nil {
					t.Fatalf("Write = %d, %v", n, err)
				}
			}
			sink.Close()
			w.Close()
			var want []string
			for _, e := range c.want {
				want = append(want, "stdout "+e)
			}
			if got := entries(t, path); !slices.Equal(got, want) {
				t.Errorf("got %.200q, want %.200q", got, want)
			}
		})
	}
}

// Whatever is written in whatever pieces comes out again, whole and in order,
// and no file is larger than it may be.
func TestNothingIsLostOverRotations(t *testing.T) {
	base := t.TempDir()
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		path := filepath.Join(base, fmt.Sprint(n), "a", "0.log")
		limit := rapid.Int64Range(100, 3000).Draw(t, "limit")
		w, err := Open(Target{Path: path, MaxBytes: limit, MaxFiles: 1 << 30})
		if err != nil {
			t.Fatal(err)
		}
		sinks := map[Stream]*Sink{Stdout: w.Sink(Stdout), Stderr: w.Sink(Stderr)}
		want := map[Stream]*bytes.Buffer{Stdout: {}, Stderr: {}}
		for range rapid.IntRange(1, 20).Draw(t, "writes") {
			s := rapid.SampledFrom([]Stream{Stdout, Stderr}).Draw(t, "stream")
			text := rapid.StringMatching(`([a-z]{0,40}\n?){1,6}`).Draw(t, "text")
			sinks[s].Write([]byte(text))
			want[s].WriteString(text)
		}
		sinks[Stdout].Close()
		sinks[Stderr].Close()
		w.Close()

		var stdout, stderr bytes.Buffer
		if err := Copy(context.Background(), path, Options{}, Format{}, &stdout, &stderr); err != nil {
			t.Fatal(err)
		}
		if stdout.String() != want[Stdout].String() || stderr.String() != want[Stderr].String() {
			t.Fatalf("read %q and %q, want %q and %q", &stdout, &stderr, want[Stdout], want[Stderr])
		}
		files, _ := logFiles(path)
		for _, f := range files {
			info, err := os.Stat(f)
			if err != nil {
				t.Fatal(err)
			}
			data, _ := os.ReadFile(f)
			if info.Size() > limit && bytes.Count(data, []byte{'\n'}) > 1 {
				t.Fatalf("%s has %d bytes in more than one entry, limit %d", f, info.Size(), limit)
			}
		}
	})
}

func TestRotationKeepsTheNewestFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	w := mustOpen(t, Target{Path: path, MaxBytes: 200, MaxFiles: 3})
	defer w.Close()
	sink := w.Sink(Stdout)
	for i := range 100 {
		fmt.Fprintf(sink, "line %d\n", i)
	}
	rotated, err := Rotated(path)
	if err != nil || len(rotated) != 2 {
		t.Fatalf("rotated %v, %v; want two", rotated, err)
	}
	got := entries(t, path)
	if len(got) < 9 || got[len(got)-1] != "stdout F line 99" {
		t.Errorf("kept %q", got)
	}
	for i, e := range got {
		if want := fmt.Sprintf("stdout F line %d", 100-len(got)+i); e != want {
			t.Fatalf("entry %d is %q, want %q: a gap", i, e, want)
		}
	}
}

func TestSuffixesSortInTheOrderOfRotation(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("", 3600))
	for _, c := range []struct {
		now        time.Time
		last, want string
	}{
		{now, "", "20260102-020405"},
		{now, "20260102-020404", "20260102-020405"},
		{now, "20260102-020405", "20260102-020405.000001"},
		{now, "20260102-020405.000009", "20260102-020405.000010"},
		{now.Add(-time.Hour), "20260102-020405", "20260102-020405.000001"},
	} {
		got := nextSuffix(c.now, c.last)
		if got != c.want || got <= c.last || !isRotatedSuffix(got) {
			t.Errorf("nextSuffix(%v, %q) = %q, want %q", c.now, c.last, got, c.want)
		}
	}
	for _, s := range []string{"", "gz", "20260102-020405.gz", "20260102-020405.tmp", "20260102-0204055", "20260102-020405.1"} {
		if isRotatedSuffix(s) {
			t.Errorf("%q counts as a rotated log's suffix", s)
		}
	}
}

func TestOpenAppendsAndEndsATornLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	for _, text := range []string{"one\n", "two\n"} {
		w := mustOpen(t, Target{Path: path})
		w.Sink(Stdout).Write([]byte(text))
		w.Close()
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString("2026-01-02T03:04:05Z stdout F cut sho")
	f.Close()
	w := mustOpen(t, Target{Path: path})
	w.Sink(Stdout).Write([]byte("three\n"))
	w.Close()
	want := []string{"stdout F one", "stdout F two", "stdout F cut sho", "stdout F three"}
	if got := entries(t, path); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestModesDoNotDependOnTheUmask(t *testing.T) {
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	dir := filepath.Join(t.TempDir(), "pod")
	path := filepath.Join(dir, "app", "0.log")
	w := mustOpen(t, Target{Path: path})
	w.Close()
	for name, want := range map[string]os.FileMode{dir: 0o755, filepath.Dir(path): 0o755, path: 0o640} {
		info, err := os.Stat(name)
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v; want %v", name, info.Mode(), err, want)
		}
	}
}

func TestOpenRefusesWhatCannotBeALog(t *testing.T) {
	dir := t.TempDir()
	victim := filepath.Join(dir, "victim")
	if err := os.WriteFile(victim, []byte("keep"), 0o600); err != nil {
		t.Fatal(err)
	}
	link, fifo := filepath.Join(dir, "link.log"), filepath.Join(dir, "fifo.log")
	if err := os.Symlink(victim, link); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{link, fifo, dir, victim + "/0.log", "/proc/no/0.log"} {
		if w, err := Open(Target{Path: path}); err == nil {
			w.Close()
			t.Errorf("%s was opened", path)
		}
	}
	if data, _ := os.ReadFile(victim); string(data) != "keep" {
		t.Errorf("the link's target holds %q", data)
	}
}

func TestALogThatWasRemovedBeginsAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pod", "0.log")
	w := mustOpen(t, Target{Path: path, MaxBytes: 100})
	defer w.Close()
	if err := os.RemoveAll(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	sink := w.Sink(Stdout)
	for i := range 6 {
		fmt.Fprintf(sink, "line %d, forty bytes with what is before it\n", i)
	}
	got := entries(t, path)
	if len(got) == 0 || got[len(got)-1] != "stdout F line 5, forty bytes with what is before it" {
		t.Errorf("after the directory was removed: %q", got)
	}
}

// A full disk costs entries, but neither an error nor half an entry, and the
// log says so once there is room.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: mounts a small tmpfs")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	path := filepath.Join(dir, "0.log")
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 32<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	w := mustOpen(t, Target{Path: path})
	defer w.Close()
	sink := w.Sink(Stdout)
	const total = 2000
	for i := range total {
		fmt.Fprintf(sink, "line %d\n", i)
	}
	lost := w.Lost()
	if lost.Entries == 0 || lost.Entries >= total || lost.Err == nil {
		t.Fatalf("lost %+v of %d", lost, total)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(sink, "there is room again")

	got := entries(t, path) // fails on malformed ones
	if want := total - int(lost.Entries) + 2; len(got) != want {
		t.Fatalf("%d entries, want %d", len(got), want)
	}
	note := fmt.Sprintf("stderr F [minikubelet: %d log entries (%d bytes) are missing here: ", lost.Entries, lost.Bytes)
	if !strings.HasPrefix(got[len(got)-2], note) || got[len(got)-1] != "stdout F there is room again" {
		t.Errorf("the log ends in %q, want %q", got[len(got)-2:], note)
	}
}

func BenchmarkSink(b *testing.B) {
	for _, size := range []int{20, 100, 1000} {
		b.Run(fmt.Sprintf("line=%d", size), func(b *testing.B) {
			w := mustOpen(b, Target{Path: filepath.Join(b.TempDir(), "0.log")})
			defer w.Close()
			sink := w.Sink(Stdout)
			block := bytes.Repeat(append(bytes.Repeat([]byte{'x'}, size-1), '\n'), 64<<10/size)
			b.SetBytes(int64(len(block)))
			for b.Loop() {
				sink.Write(block)
			}
			if lost := w.Lost(); lost.Entries > 0 {
				b.Fatal(lost.Err)
			}
		})
	}
}
