// SPDX-License-Identifier: Apache-2.0

package image

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/minikubelet/minikubelet/runtime/image/imagetest"
)

func TestImportAllFormats(t *testing.T) {
	if _, err := os.Stat(imagetest.DefaultBusybox); err != nil {
		t.Skip("needs the package busybox-static")
	}
	for _, format := range []imagetest.Format{imagetest.OCI, imagetest.Docker} {
		for _, whole := range []imagetest.Compression{imagetest.None, imagetest.Gzip, imagetest.Zstd} {
			for _, layers := range []imagetest.Compression{imagetest.None, imagetest.Gzip, imagetest.Zstd} {
				t.Run(fmt.Sprintf("%s-%s-%s", format, whole, layers), func(t *testing.T) {
					s, _ := newStore(t, Limits{})
					img, err := imagetest.New(imagetest.Options{Layers: layers, Files: []imagetest.File{
						{Path: "etc/motd", Mode: 0o600, Content: []byte("hi")}, {Path: "bin/.wh.vi", Mode: 0o644}}})
					if err != nil {
						t.Fatal(err)
					}
					data := archiveOf(t, format, whole, imagetest.Named{Image: img, Names: []string{"busybox", "example.com/bb:1"}})
					var last Progress
					got := mustImport(t, s, data, ImportOptions{Size: int64(len(data)), Progress: func(p Progress) { last = p }})
					if len(got) != 2 || got[0].Name != "docker.io/library/busybox:latest" || got[1].Name != "example.com/bb:1" {
						t.Fatalf("%+v", got)
					}
					if got[0].ID != img.Config.Digest {
						t.Errorf("ID %s, want %s", got[0].ID, img.Config.Digest)
					}
					if format == imagetest.OCI && (got[0].Digest != img.Manifest.Digest || len(got[0].RepoDigests) != 2) {
						t.Errorf("digest %s, %v", got[0].Digest, got[0].RepoDigests)
					}
					if format == imagetest.Docker && len(got[0].RepoDigests) != 0 {
						t.Errorf("a docker archive has no registry's digest: %v", got[0].RepoDigests)
					}
					if !last.Done || last.Layers != 2 || last.TotalLayers != 2 || last.Bytes != int64(len(data)) {
						t.Errorf("progress %+v of %d", last, len(data))
					}
					if readFile(t, s, got[0], "etc/motd") != "hi" {
						t.Error("wrong content")
					}
				})
			}
		}
	}
}

func TestImportSeveralImages(t *testing.T) {
	s, _ := newStore(t, Limits{})
	one := small(t, imagetest.Options{})
	two := small(t, imagetest.Options{Files: []imagetest.File{{Path: "two", Content: []byte("2"), Mode: 0o644}}})
	for _, format := range []imagetest.Format{imagetest.OCI, imagetest.Docker} {
		data := archiveOf(t, format, imagetest.None, imagetest.Named{Image: one, Names: []string{"one"}}, imagetest.Named{Image: two, Names: []string{"two"}})
		if got := mustImport(t, s, data, ImportOptions{}); len(got) != 2 || got[1].ID != two.Config.Digest {
			t.Errorf("%s: %+v", format, got)
		}
		if _, err := s.Import(t.Context(), bytes.NewReader(data), ImportOptions{Name: "x"}); err == nil || !strings.Contains(err.Error(), "2 images") {
			t.Errorf("%s: one name for two images: %v", format, err)
		}
	}
}

func TestImportNames(t *testing.T) {
	s, _ := newStore(t, Limits{})
	img := small(t, imagetest.Options{})
	for _, format := range []imagetest.Format{imagetest.OCI, imagetest.Docker} {
		nameless := archiveOf(t, format, imagetest.None, imagetest.Named{Image: img})
		_, err := s.Import(t.Context(), bytes.NewReader(nameless), ImportOptions{})
		if !errors.Is(err, ErrNoName) || !strings.Contains(err.Error(), "--name") {
			t.Errorf("%s without a name: %v", format, err)
		}
		if got := mustImport(t, s, nameless, ImportOptions{Name: "given:1"}); len(got) != 1 || got[0].Name != "docker.io/library/given:1" {
			t.Errorf("%s with a name given: %+v", format, got)
		}
		var invalid *InvalidNameError
		if _, err := s.Import(t.Context(), bytes.NewReader(nameless), ImportOptions{Name: "BAD"}); !errors.As(err, &invalid) {
			t.Errorf("%s with a bad name: %v", format, err)
		}
	}
}

func TestImportBadArchives(t *testing.T) {
	img := small(t, imagetest.Options{Layers: imagetest.Gzip})
	named := imagetest.Named{Image: img, Names: []string{"a:1"}}
	good := archiveOf(t, imagetest.OCI, imagetest.None, named)
	layerAt := bytes.Index(good, img.Layers[0].Data)
	flipped := bytes.Clone(good)
	flipped[layerAt+40] ^= 0xff

	lying := small(t, imagetest.Options{}) // the layer has its digest, but the configuration expects another content
	lying.Layers[0] = imagetest.NewBlob(lying.Layers[0].MediaType, mustTar(t, imagetest.File{Path: "other", Mode: 0o644}))
	if err := lying.Seal(); err != nil {
		t.Fatal(err)
	}
	short := small(t, imagetest.Options{})
	short.Layers = nil
	if err := short.Seal(); err != nil {
		t.Fatal(err)
	}
	noLayer := *img
	noLayer.Layers = []imagetest.Blob{{Descriptor: img.Layers[0].Descriptor}}

	zipped, err := imagetest.Pack(imagetest.Gzip, good)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		data []byte
		kind error
		says string
	}{
		"empty":                {nil, ErrCorrupt, "no tar archive"},
		"text":                 {[]byte(strings.Repeat("this is a text\n", 1000)), ErrCorrupt, "no tar archive"},
		"only the magic":       {[]byte{0x1f, 0x8b}, ErrCorrupt, "gzip"},
		"zstd garbage":         {[]byte{0x28, 0xb5, 0x2f, 0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, ErrCorrupt, "zstd"},
		"cut":                  {good[:layerAt+20], ErrCorrupt, "ends too early"},
		"cut gzip":             {zipped[:len(zipped)/2], ErrCorrupt, ""},
		"a tar of files":       {mustTar(t, imagetest.File{Path: "etc/motd", Mode: 0o644, Content: []byte("x")}), ErrCorrupt, "index.json"},
		"flipped byte":         {flipped, ErrCorrupt, "blobs/sha256/"},
		"other layer":          {archiveOf(t, imagetest.OCI, imagetest.None, imagetest.Named{Image: lying, Names: []string{"a:1"}}), ErrCorrupt, "diff id"},
		"layer count":          {archiveOf(t, imagetest.OCI, imagetest.None, imagetest.Named{Image: short, Names: []string{"a:1"}}), ErrCorrupt, "layers"},
		"empty layer file":     {archiveOf(t, imagetest.OCI, imagetest.None, imagetest.Named{Image: &noLayer, Names: []string{"a:1"}}), ErrCorrupt, ""},
		"broken index":         {tarOf(t, "index.json", "{"), ErrCorrupt, "index.json"},
		"empty index":          {tarOf(t, "index.json", "{}"), ErrCorrupt, "no image"},
		"index without blob":   {tarOf(t, "index.json", indexOf(img.Manifest.Digest.String())), ErrCorrupt, "not in the archive"},
		"bad digest":           {tarOf(t, "index.json", indexOf("sha256:../../etc")), ErrCorrupt, "digest"},
		"docker config gone":   {tarOf(t, "manifest.json", `[{"Config":"x.json","RepoTags":["a:1"],"Layers":[]}]`), ErrCorrupt, "x.json"},
		"docker, no config":    {tarOf(t, "manifest.json", `[{"RepoTags":["a:1"]}]`), ErrCorrupt, "Config"},
		"docker, no image":     {tarOf(t, "manifest.json", `[]`), ErrCorrupt, "no image"},
		"huge index":           {tarOf(t, "index.json", strings.Repeat(" ", maxJSON+1)), ErrTooLarge, "index.json"},
		"other layout":         {tarOf(t, "oci-layout", `{"imageLayoutVersion":"9.0"}`, "index.json", "{}"), nil, "9.0"},
		"long name":            {tarOf(t, strings.Repeat("n", maxPath+1), "x"), ErrCorrupt, "name or a link"},
		"long link":            {mustTar(t, imagetest.File{Path: "a", Link: strings.Repeat("n", maxPath+1)}), ErrCorrupt, "name or a link"},
		"docker links in loop": {loopArchive(t), ErrCorrupt, "not in the archive"},
	} {
		t.Run(name, func(t *testing.T) {
			s, ctx := newStore(t, Limits{})
			_, err := s.Import(t.Context(), bytes.NewReader(c.data), ImportOptions{})
			if err == nil || (c.kind != nil && !errors.Is(err, c.kind)) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %v with %q", err, c.kind, c.says)
			}
			t.Log(err)
			if list, err := s.List(t.Context()); err != nil || len(list) > 0 {
				t.Errorf("it left images: %v, %v", list, err)
			}
			expectEmpty(t, s, ctx)
		})
	}
}

func mustTar(t *testing.T, files ...imagetest.File) []byte {
	t.Helper()
	data, err := imagetest.Tar(files)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// tarOf makes an archive of names and contents.
func tarOf(t *testing.T, pairs ...string) []byte {
	t.Helper()
	var files []imagetest.File
	for i := 0; i < len(pairs); i += 2 {
		files = append(files, imagetest.File{Path: pairs[i], Mode: 0o644, Content: []byte(pairs[i+1])})
	}
	return mustTar(t, files...)
}

func indexOf(dgst string) string {
	return `{"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"` + dgst + `","size":2,"annotations":{"io.containerd.image.name":"a:1"}}]}`
}

func loopArchive(t *testing.T) []byte {
	return mustTar(t,
		imagetest.File{Path: "a", Link: "b"}, imagetest.File{Path: "b", Link: "a"},
		imagetest.File{Path: "manifest.json", Mode: 0o644, Content: []byte(`[{"Config":"a","RepoTags":["x"]}]`)})
}

// A failed import must not change what a name already points to.
func TestImportFailureKeepsTheOldImage(t *testing.T) {
	s, _ := newStore(t, Limits{})
	old := small(t, imagetest.Options{})
	mustImport(t, s, archiveOf(t, imagetest.OCI, imagetest.None, imagetest.Named{Image: old, Names: []string{"a:1"}}), ImportOptions{})
	bad := small(t, imagetest.Options{Files: []imagetest.File{{Path: "new", Mode: 0o644}}})
	bad.Layers[0] = imagetest.NewBlob(bad.Layers[0].MediaType, []byte("no tar at all"))
	if err := bad.Seal(); err != nil {
		t.Fatal(err)
	}
	data := archiveOf(t, imagetest.OCI, imagetest.None, imagetest.Named{Image: bad, Names: []string{"a:1"}})
	if _, err := s.Import(t.Context(), bytes.NewReader(data), ImportOptions{}); err == nil {
		t.Fatal("no error")
	}
	if got, ok, err := s.Get(t.Context(), "a:1"); !ok || err != nil || got.ID != old.Config.Digest {
		t.Errorf("%v, %v, %v", got.ID, ok, err)
	}
}

func TestImportBombs(t *testing.T) {
	zeros := imagetest.File{Path: "zeros", Mode: 0o644, Content: make([]byte, 64<<20)}
	inLayer := small(t, imagetest.Options{Files: []imagetest.File{zeros}, Layers: imagetest.Zstd})
	for name, c := range map[string]struct {
		data   []byte
		limits Limits
	}{
		"archive by size":  {archiveOf(t, imagetest.OCI, imagetest.Gzip, imagetest.Named{Image: small(t, imagetest.Options{Files: []imagetest.File{zeros}}), Names: []string{"a"}}), Limits{MaxBytes: 8 << 20}},
		"layer by size":    {archiveOf(t, imagetest.OCI, imagetest.None, imagetest.Named{Image: inLayer, Names: []string{"a"}}), Limits{MaxBytes: 8 << 20}},
		"sparse layer":     {archiveOf(t, imagetest.OCI, imagetest.None, imagetest.Named{Image: sparseImage(t), Names: []string{"a"}}), Limits{MaxBytes: 8 << 20}},
		"sparse, by ratio": {archiveOf(t, imagetest.OCI, imagetest.None, imagetest.Named{Image: sparseImage(t), Names: []string{"a"}}), Limits{}},
		"sparse archive":   {sparseTar("blob"), Limits{}},
	} {
		t.Run(name, func(t *testing.T) {
			s, ctx := newStore(t, c.limits)
			_, err := s.Import(t.Context(), bytes.NewReader(c.data), ImportOptions{})
			if !errors.Is(err, ErrTooLarge) {
				t.Errorf("%d bytes: %v", len(c.data), err)
			}
			t.Log(err)
			expectEmpty(t, s, ctx)
		})
	}
}

// sparseImage is an image whose layer declares a file of 8 GiB without bytes.
func sparseImage(t *testing.T) *imagetest.Image {
	img := small(t, imagetest.Options{})
	if err := img.AddLayer(imagetest.None, paxSparseTar()); err != nil {
		t.Fatal(err)
	}
	return img
}

// sparseTar is a tar archive with one sparse file of 8 GiB - 1 in the old GNU format, which archive/tar can only read.
func sparseTar(name string) []byte {
	var h [512]byte
	copy(h[0:], name)
	copy(h[100:], "0000644\x000000000\x000000000\x0000000000000\x0000000000000\x00        S")
	copy(h[257:], "ustar  \x00")
	copy(h[386:], "00000000000\x0000000000000\x00") // one piece: offset 0, no bytes
	copy(h[483:], "77777777777\x00")                // the real size
	sum := 0
	for _, b := range h {
		sum += int(b)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	return append(h[:], make([]byte, 1024)...)
}

// paxSparseTar is the same in the PAX format 1.0, an ordinary file to whoever looks at its type only.
func paxSparseTar() []byte {
	header := func(name string, typeflag byte, size int) []byte {
		var h [512]byte
		copy(h[0:], name)
		copy(h[100:], fmt.Sprintf("0000644\x000000000\x000000000\x00%011o\x0000000000000\x00        %c", size, typeflag))
		copy(h[257:], "ustar\x0000")
		sum := 0
		for _, b := range h {
			sum += int(b)
		}
		copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
		return h[:]
	}
	pad := func(s string) []byte { return append([]byte(s), make([]byte, 512-len(s))...) }
	var records string
	for _, r := range []string{"GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.name=sparse", "GNU.sparse.realsize=8589934591"} {
		records += fmt.Sprintf("%d %s\n", len(r)+4, r)
	}
	return bytes.Join([][]byte{header("pax", 'x', len(records)), pad(records), header("sparse", '0', 512), pad("0\n"), make([]byte, 1024)}, nil)
}

func TestSparseTarIsOne(t *testing.T) {
	for _, data := range [][]byte{sparseTar("x"), paxSparseTar()} {
		h, err := tar.NewReader(bytes.NewReader(data)).Next()
		if err != nil || h.Size != 1<<33-1 || !isSparse(h) {
			t.Fatalf("%+v, %v", h, err)
		}
	}
}

// The ratio counts only once much was written, so the meter itself is tested.
func TestDecompressRatio(t *testing.T) {
	packed, err := imagetest.Pack(imagetest.Zstd, make([]byte, 32<<20))
	if err != nil {
		t.Fatal(err)
	}
	m := newMeter(Limits{}.orDefault())
	m.floor = 1 << 20
	r, err := decompress(bytes.NewReader(packed), m)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	n, err := io.Copy(io.Discard, r)
	if !errors.Is(err, ErrTooLarge) || n > 16<<20 {
		t.Errorf("%d bytes of %d packed: %v", n, len(packed), err)
	}
	m = newMeter(Limits{}.orDefault())
	r, err = decompress(bytes.NewReader(packed), m)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if n, err := io.Copy(io.Discard, r); err != nil || n != 32<<20 {
		t.Errorf("below the floor: %d, %v", n, err)
	}
}

// What unpacks a layer asks for each entry; so many of them are not made here.
func TestLayersOfManyFiles(t *testing.T) {
	ask := newMeter(Limits{}.orDefault()).files()
	empty := &tar.Header{Name: "f", Typeflag: tar.TypeReg}
	for range maxFiles {
		if ok, err := ask(empty); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	if _, err := ask(empty); !errors.Is(err, ErrTooLarge) {
		t.Errorf("one file more than %d: %v", maxFiles, err)
	}
	ask = newMeter(Limits{}.orDefault()).files()
	if _, err := ask(&tar.Header{Name: strings.Repeat("n", maxPath+1)}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a name of more than %d bytes: %v", maxPath, err)
	}
}

func TestImportDir(t *testing.T) {
	s, _ := newStore(t, Limits{})
	dir := t.TempDir()
	img := func(content string) []byte {
		i := small(t, imagetest.Options{Files: []imagetest.File{{Path: "v", Mode: 0o644, Content: []byte(content)}}})
		return archiveOf(t, imagetest.OCI, imagetest.Gzip, imagetest.Named{Image: i, Names: []string{"a:1", "b:1"}})
	}
	write := func(name string, data []byte, age time.Duration) {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		when := time.Now().Add(-age)
		if err := os.Chtimes(path, when, when); err != nil {
			t.Fatal(err)
		}
	}
	run := func(want ...string) []FileResult {
		t.Helper()
		results, err := s.ImportDir(t.Context(), dir, ImportOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range results {
			got = append(got, fmt.Sprintf("%s skipped=%v images=%d failed=%v", filepath.Base(r.Path), r.Skipped, len(r.Images), r.Err != nil))
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("got  %q\nwant %q", got, want)
		}
		return results
	}
	if results, err := s.ImportDir(t.Context(), filepath.Join(dir, "none"), ImportOptions{}); err != nil || len(results) > 0 {
		t.Errorf("no directory: %v, %v", results, err)
	}
	write("one.tar.gz", img("1"), time.Hour)
	write("bad.tar", []byte("garbage"), time.Hour)
	write("README", []byte("text"), time.Hour)
	write(".hidden.tar", []byte("garbage"), time.Hour)
	if err := os.Mkdir(filepath.Join(dir, "sub.tar"), 0o755); err != nil {
		t.Fatal(err)
	}
	run("bad.tar skipped=false images=0 failed=true", "one.tar.gz skipped=false images=2 failed=false")
	run("bad.tar skipped=false images=0 failed=true", "one.tar.gz skipped=true images=2 failed=false")
	os.Remove(filepath.Join(dir, "bad.tar"))
	write("one.tar.gz", img("2"), time.Minute)
	results := run("one.tar.gz skipped=false images=2 failed=false")
	if readFile(t, s, results[0].Images[0], "v") != "2" {
		t.Error("the changed file was not taken")
	}
	if _, err := s.Remove(t.Context(), "a:1", false); err != nil {
		t.Fatal(err)
	}
	run("one.tar.gz skipped=true images=1 failed=false")
	if _, err := s.Remove(t.Context(), "b:1", false); err != nil {
		t.Fatal(err)
	}
	run("one.tar.gz skipped=false images=2 failed=false")
}

func TestImportCancelled(t *testing.T) {
	s, sctx := newStore(t, Limits{})
	img := small(t, imagetest.Options{Files: []imagetest.File{{Path: "big", Mode: 0o644, Content: bytes.Repeat([]byte("x"), 4<<20)}}})
	data := archiveOf(t, imagetest.OCI, imagetest.None, imagetest.Named{Image: img, Names: []string{"a"}})
	ctx, cancel := context.WithCancel(t.Context())
	half := io.MultiReader(bytes.NewReader(data[:len(data)/2]), readerFunc(func([]byte) (int, error) {
		cancel()
		return 0, nil
	}))
	if _, err := s.Import(ctx, half, ImportOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	expectEmpty(t, s, sctx)
}

func TestImportFileErrors(t *testing.T) {
	s, err := New(Config{Client: newClientless(t)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.ImportFile(t.Context(), filepath.Join(t.TempDir(), "none.tar"), ImportOptions{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if _, err := s.ImportFile(t.Context(), t.TempDir(), ImportOptions{}); err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("%v", err)
	}
}

func FuzzParseIndex(f *testing.F) {
	f.Add([]byte(indexOf("sha256:" + strings.Repeat("a", 64))))
	f.Add([]byte(`[{"Config":"x.json","RepoTags":["a:1"],"Layers":["l"]}]`))
	f.Add([]byte(`{"manifests":[{"annotations":{"org.opencontainers.image.ref.name":"a/b:1"}}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if found, err := parseIndex(data); err == nil {
			for _, a := range found {
				if a.target.Digest.Validate() != nil {
					t.Fatalf("a bad digest passed: %q", a.target.Digest)
				}
				for _, name := range a.names {
					if again, err := Normalise(name); err != nil || again != name {
						t.Fatalf("%q is not normal: %q, %v", name, again, err)
					}
				}
			}
		}
		if list, err := parseDockerManifest(data); err == nil && len(list) == 0 {
			t.Fatal("no images and no error")
		}
	})
}
