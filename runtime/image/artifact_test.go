// SPDX-License-Identifier: Apache-2.0

package image

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/minikubelet/minikubelet/runtime/image/imagetest"
)

const modelType = "application/vnd.example.model.v1"

func artifact(t *testing.T, files ...imagetest.File) *imagetest.Image {
	t.Helper()
	a, err := imagetest.NewArtifact(modelType, files...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestArtifacts(t *testing.T) {
	s, ctx := newStore(t, Limits{})
	r := newRegistry(t, nil)
	large := strings.Repeat("x", maxJSON+1) // more than a configuration may have
	a := artifact(t, imagetest.File{Path: "weights.bin", Content: []byte(large)}, imagetest.File{Path: "./conf/a.json", Content: []byte("{}")},
		imagetest.File{Content: []byte("untitled")}, imagetest.File{Path: "conf/b", Content: nil})
	ref := r.push(t, "model", "v1", a)
	got, err := s.Pull(t.Context(), ref, PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got.Artifact != modelType || got.ID != a.Manifest.Digest || got.Digest != a.Manifest.Digest || got.Platform != "" || got.Size < int64(len(large)) {
		t.Errorf("%+v", got)
	}
	untitled := "sha256-" + digest.FromString("untitled").Encoded()
	check := func(img Image) {
		t.Helper()
		for name, want := range map[string]string{"weights.bin": large, "conf/a.json": "{}", untitled: "untitled", "conf/b": ""} {
			if readFile(t, s, img, name) != want {
				t.Errorf("%s is not what it should be", name)
			}
		}
	}
	check(got)
	other := r.push(t, "other", "v1", artifact(t, imagetest.File{Path: "f", Content: []byte("1")}))
	if _, err := s.Pull(t.Context(), other, PullOptions{}); err != nil {
		t.Fatal(err)
	}
	if i, ok, err := s.Get(t.Context(), got.ID.String()); !ok || err != nil || i.Name != ref {
		t.Errorf("by ID: %+v, %v, %v", i, ok, err)
	}

	// What has been unpacked once stays as long as the record, and is made again when it is lost.
	s.collect(ctx)
	check(got)
	dropSnapshot(t, s, ctx, got)
	if i, ok, err := s.Get(t.Context(), ref); !ok || err != nil {
		t.Errorf("unpacked again: %v, %v", ok, err)
	} else {
		check(i)
	}
	dropSnapshot(t, s, ctx, got)
	zero(t, a.Layers[1].Digest)
	if _, ok, err := s.Get(t.Context(), ref); ok || err != nil {
		t.Errorf("with a damaged layer: %v, %v", ok, err)
	}
	if got, err = s.Pull(t.Context(), ref, PullOptions{}); err != nil {
		t.Fatal(err)
	}
	check(got)
	for _, name := range []string{ref, other} {
		if removed, err := s.Remove(t.Context(), name, false); err != nil || len(removed) != 1 {
			t.Errorf("%v, %v", removed, err)
		}
	}
	expectEmpty(t, s, ctx)
}

func TestArtifactsInArchives(t *testing.T) {
	s, _ := newStore(t, Limits{})
	a := artifact(t, imagetest.File{Path: "f", Content: []byte("from a file")})
	got := mustImport(t, s, archiveOf(t, imagetest.OCI, imagetest.Gzip, imagetest.Named{Image: a, Names: []string{"example.com/a:1"}}), ImportOptions{})
	if len(got) != 1 || got[0].Artifact != modelType || readFile(t, s, got[0], "f") != "from a file" {
		t.Errorf("%+v", got)
	}
}

// TestArtifactsThatAreRefused: a title is a stranger's, and leaves nothing.
func TestArtifactsThatAreRefused(t *testing.T) {
	s, ctx := newStore(t, Limits{MaxBytes: 1000})
	r := newRegistry(t, nil)
	file := func(name string) imagetest.File { return imagetest.File{Path: name, Content: []byte(name)} }
	for name, tt := range map[string]struct {
		files []imagetest.File
		want  string
	}{
		"above":              {[]imagetest.File{file("../etc/passwd")}, "is no path below a directory"},
		"above, hidden":      {[]imagetest.File{file("a/../../b")}, "is no path below a directory"},
		"up and down":        {[]imagetest.File{file("a/../b")}, "is no path below a directory"},
		"absolute":           {[]imagetest.File{file("/etc/passwd")}, "is no path below a directory"},
		"the directory":      {[]imagetest.File{file("./")}, "is no path below a directory"},
		"a zero byte":        {[]imagetest.File{file("a\x00b")}, "is no path below a directory"},
		"long":               {[]imagetest.File{file(strings.Repeat("n", 256))}, "is no path below a directory"},
		"twice":              {[]imagetest.File{file("a"), {Path: "./a", Content: []byte("other")}}, `two layers of the artifact have the title "a"`},
		"file and directory": {[]imagetest.File{file("a"), file("a/b")}, "is that of a file and of a directory in the artifact"},
		"in sum too large": {[]imagetest.File{{Path: "a", Content: make([]byte, 600)}, {Path: "b", Content: bytes.Repeat([]byte{1}, 600)}},
			"too large: the artifact has more than 1000 bytes, the configured limit"},
	} {
		t.Run(name, func(t *testing.T) {
			ref := r.push(t, "bad", "v1", artifact(t, tt.files...))
			_, err := s.Pull(t.Context(), ref, PullOptions{})
			var known *Error
			if !errors.As(err, &known) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %s", err, tt.want)
			}
			expectEmpty(t, s, ctx)
		})
	}
}
