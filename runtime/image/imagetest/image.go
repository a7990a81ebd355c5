// SPDX-License-Identifier: Apache-2.0

package imagetest

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Compression is how bytes are packed.
type Compression string

// The compressions that every container tool knows.
const (
	None Compression = "none"
	Gzip Compression = "gzip"
	Zstd Compression = "zstd"
)

// Options say what image to make. The zero value makes the busybox image, uncompressed.
type Options struct {
	Busybox      string // path of a static busybox; default DefaultBusybox; "-" for an image without it
	Files        []File // more files, in a second layer
	Config       ocispec.ImageConfig
	Architecture string      // default: this machine's
	Layers       Compression // of the layers; default None

	Name     string      // for Build; default DefaultName
	Format   Format      // for Build; default OCI
	Compress Compression // for Build, the archive as a whole; default None
}

// Image is an image in memory.
type Image struct {
	Manifest Blob
	Config   Blob
	Layers   []Blob
}

// Blob is content and its description.
type Blob struct {
	ocispec.Descriptor
	Data []byte
}

// epoch is every time stamp in an image.
var epoch = time.Unix(0, 0).UTC()

// New makes an image.
func New(o Options) (*Image, error) {
	if o.Architecture == "" {
		o.Architecture = runtime.GOARCH
	}
	var layers [][]File
	if o.Busybox != "-" {
		if o.Busybox == "" {
			o.Busybox = DefaultBusybox
		}
		files, err := busyboxFiles(o.Busybox)
		if err != nil {
			return nil, err
		}
		layers = append(layers, files)
		if o.Config.Cmd == nil && o.Config.Entrypoint == nil {
			o.Config.Cmd = []string{"sh"}
		}
		if o.Config.Env == nil {
			o.Config.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
		}
	}
	if len(o.Files) > 0 {
		layers = append(layers, o.Files)
	}
	config := ocispec.Image{
		Created:  &epoch,
		Platform: ocispec.Platform{OS: "linux", Architecture: o.Architecture},
		Config:   o.Config,
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{}},
	}
	img := &Image{}
	for _, files := range layers {
		plain, err := Tar(files)
		if err != nil {
			return nil, err
		}
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.FromBytes(plain))
		packed, err := Pack(o.Layers, plain)
		if err != nil {
			return nil, err
		}
		img.Layers = append(img.Layers, NewBlob(layerType(o.Layers), packed))
	}
	var err error
	if img.Config, err = jsonBlob(ocispec.MediaTypeImageConfig, config); err != nil {
		return nil, err
	}
	return img, img.Seal()
}

// Seal makes the manifest anew from the configuration and the layers, after a test has changed them.
func (i *Image) Seal() error {
	manifest := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest,
		Config:    i.Config.Descriptor,
		Layers:    []ocispec.Descriptor{},
	}
	for _, layer := range i.Layers {
		manifest.Layers = append(manifest.Layers, layer.Descriptor)
	}
	var err error
	i.Manifest, err = jsonBlob(ocispec.MediaTypeImageManifest, manifest)
	return err
}

// NewArtifact makes an artifact that is no image, of files in order. A file without a path is a layer without a title.
func NewArtifact(kind string, files ...File) (*Image, error) {
	a := &Image{Config: NewBlob(ocispec.MediaTypeEmptyJSON, []byte("{}"))}
	manifest := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: kind,
		Config: a.Config.Descriptor, Layers: []ocispec.Descriptor{},
	}
	for _, f := range files {
		layer := NewBlob("application/octet-stream", f.Content)
		if f.Path != "" {
			layer.Annotations = map[string]string{ocispec.AnnotationTitle: f.Path}
		}
		a.Layers = append(a.Layers, layer)
		manifest.Layers = append(manifest.Layers, layer.Descriptor)
	}
	var err error
	a.Manifest, err = jsonBlob(ocispec.MediaTypeImageManifest, manifest)
	return a, err
}

// Index makes an index of images, one for each platform.
func Index(images ...*Image) (Blob, error) {
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	for _, img := range images {
		var config ocispec.Image
		if err := json.Unmarshal(img.Config.Data, &config); err != nil {
			return Blob{}, err
		}
		m := img.Manifest.Descriptor
		m.Platform = &ocispec.Platform{OS: config.OS, Architecture: config.Architecture}
		index.Manifests = append(index.Manifests, m)
	}
	return jsonBlob(ocispec.MediaTypeImageIndex, index)
}

// NewBlob describes content.
func NewBlob(mediaType string, data []byte) Blob {
	return Blob{ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}, data}
}

func jsonBlob(mediaType string, object any) (Blob, error) {
	data, err := json.Marshal(object)
	return NewBlob(mediaType, data), err
}

func layerType(c Compression) string {
	switch c {
	case Gzip:
		return ocispec.MediaTypeImageLayerGzip
	case Zstd:
		return ocispec.MediaTypeImageLayerZstd
	}
	return ocispec.MediaTypeImageLayer
}

// Tar packs files, with the directories they need, sorted and without times.
func Tar(files []File) ([]byte, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range withParents(files) {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: f.Path, Mode: f.Mode, Uid: f.UID, Gid: f.GID, Size: int64(len(f.Content)), ModTime: epoch, Format: tar.FormatPAX}
		switch {
		case f.Dir:
			h.Typeflag, h.Name = tar.TypeDir, f.Path+"/"
		case f.Link != "":
			h.Typeflag, h.Linkname = tar.TypeSymlink, f.Link
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, fmt.Errorf("layer: %s: %w", f.Path, err)
		}
		if _, err := w.Write(f.Content); err != nil {
			return nil, fmt.Errorf("layer: %s: %w", f.Path, err)
		}
	}
	err := w.Close()
	return buf.Bytes(), err
}

// Pack compresses data.
func Pack(c Compression, data []byte) ([]byte, error) {
	var buf bytes.Buffer
	w, err := packer(&buf, c)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	err = w.Close()
	return buf.Bytes(), err
}

func packer(w io.Writer, c Compression) (io.WriteCloser, error) {
	switch c {
	case None, "":
		return nopCloser{w}, nil
	case Gzip:
		return gzip.NewWriter(w), nil
	case Zstd:
		// With several goroutines the frames would depend on timing.
		return zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
	}
	return nil, fmt.Errorf("compression %q: want none, gzip or zstd", c)
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// AddLayer puts a layer, given as an uncompressed tar archive, on the image.
func (i *Image) AddLayer(c Compression, plain []byte) error {
	var config ocispec.Image
	if err := json.Unmarshal(i.Config.Data, &config); err != nil {
		return err
	}
	config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.FromBytes(plain))
	packed, err := Pack(c, plain)
	if err != nil {
		return err
	}
	i.Layers = append(i.Layers, NewBlob(layerType(c), packed))
	if i.Config, err = jsonBlob(ocispec.MediaTypeImageConfig, config); err != nil {
		return err
	}
	return i.Seal()
}
