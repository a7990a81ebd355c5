// SPDX-License-Identifier: Apache-2.0

package imagetest

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestBuildIsReproducible(t *testing.T) {
	if _, err := os.Stat(DefaultBusybox); err != nil {
		t.Skip("needs the package busybox-static")
	}
	for _, format := range []Format{OCI, Docker} {
		for _, c := range []Compression{None, Gzip, Zstd} {
			var a, b bytes.Buffer
			for _, w := range []io.Writer{&a, &b} {
				if err := Build(w, Options{Format: format, Compress: c, Layers: c}); err != nil {
					t.Fatal(err)
				}
			}
			if !bytes.Equal(a.Bytes(), b.Bytes()) {
				t.Errorf("%s %s: two builds differ", format, c)
			}
		}
	}
}

func TestRootFileSystem(t *testing.T) {
	if _, err := os.Stat(DefaultBusybox); err != nil {
		t.Skip("needs the package busybox-static")
	}
	img, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]*tar.Header{}
	for r := tar.NewReader(bytes.NewReader(img.Layers[0].Data)); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		found[strings.TrimSuffix(h.Name, "/")] = h
	}
	for _, name := range []string{"bin/sh", "bin/sleep", "bin/busybox", "etc/passwd", "etc/group", "home/app", "tmp"} {
		if found[name] == nil {
			t.Fatalf("%s is missing", name)
		}
	}
	if found["tmp"].Mode != 0o1777 || found["bin/sh"].Linkname != "busybox" || found["home/app"].Uid != 1000 {
		t.Errorf("%+v %+v %+v", found["tmp"], found["bin/sh"], found["home/app"])
	}
}

func TestBusyboxMustBeStatic(t *testing.T) {
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/nonexistent", text, "/bin/ls"} {
		out := filepath.Join(t.TempDir(), "out.tar")
		err := BuildFile(out, Options{Busybox: path})
		if err == nil || !strings.Contains(err.Error(), "busybox-static") {
			t.Errorf("%s: %v", path, err)
		}
		if left, _ := os.ReadDir(filepath.Dir(out)); len(left) > 0 {
			t.Errorf("%s: files are left", path)
		}
	}
}

func TestBadOptions(t *testing.T) {
	for _, o := range []Options{{Format: "zip"}, {Compress: "lzma"}, {Layers: "lzma", Files: []File{{Path: "x"}}}} {
		o.Busybox = "-"
		if err := Build(io.Discard, o); err == nil {
			t.Errorf("%+v: no error", o)
		}
	}
}
