// SPDX-License-Identifier: Apache-2.0

package imagetest

import (
	"archive/tar"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Format is a kind of archive.
type Format string

// The formats: the OCI image layout, and what `docker save` wrote before it knew that.
const (
	OCI    Format = "oci"
	Docker Format = "docker"
)

// annotationName holds the full name of an image in the index of an OCI layout, as containerd and docker write it.
const annotationName = "io.containerd.image.name"

// Named is an image and its names in an archive; it may have none.
type Named struct {
	Image *Image
	Names []string
}

// Build writes the archive of one image.
func Build(w io.Writer, o Options) error {
	img, err := New(o)
	if err != nil {
		return err
	}
	if o.Name == "" {
		o.Name = DefaultName
	}
	return WriteArchive(w, o.Format, o.Compress, Named{img, []string{o.Name}})
}

// BuildFile is Build into a file, which appears whole or not at all.
func BuildFile(path string, o Options) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".image-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if err := Build(f, o); err != nil {
		return err
	}
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// WriteArchive writes an archive of several images.
func WriteArchive(w io.Writer, format Format, compress Compression, images ...Named) error {
	packed, err := packer(w, compress)
	if err != nil {
		return err
	}
	a := &archive{w: tar.NewWriter(packed), have: map[string]bool{}}
	switch format {
	case OCI, "":
		err = a.oci(images)
	case Docker:
		err = a.docker(images)
	default:
		return fmt.Errorf("format %q: want oci or docker", format)
	}
	if err != nil {
		return err
	}
	if err := a.w.Close(); err != nil {
		return err
	}
	return packed.Close()
}

type archive struct {
	w    *tar.Writer
	have map[string]bool
}

func (a *archive) file(name string, data []byte) error {
	if a.have[name] {
		return nil
	}
	a.have[name] = true
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(data)), ModTime: epoch, Format: tar.FormatPAX}
	if err := a.w.WriteHeader(h); err != nil {
		return err
	}
	_, err := a.w.Write(data)
	return err
}

func (a *archive) json(name string, object any) error {
	data, err := json.Marshal(object)
	if err != nil {
		return err
	}
	return a.file(name, data)
}

func (a *archive) oci(images []Named) error {
	if err := a.json(ocispec.ImageLayoutFile, ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion}); err != nil {
		return err
	}
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	for _, named := range images {
		for _, blob := range append([]Blob{named.Image.Manifest, named.Image.Config}, named.Image.Layers...) {
			if err := a.file("blobs/"+blob.Digest.Algorithm().String()+"/"+blob.Digest.Encoded(), blob.Data); err != nil {
				return err
			}
		}
		desc := named.Image.Manifest.Descriptor
		if len(named.Names) == 0 {
			index.Manifests = append(index.Manifests, desc)
		}
		for _, name := range named.Names {
			desc.Annotations = map[string]string{annotationName: name}
			index.Manifests = append(index.Manifests, desc)
		}
	}
	return a.json(ocispec.ImageIndexFile, index)
}

func (a *archive) docker(images []Named) error {
	type entry struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	var list []entry
	for _, named := range images {
		e := entry{Config: named.Image.Config.Digest.Encoded() + ".json", RepoTags: named.Names}
		if err := a.file(e.Config, named.Image.Config.Data); err != nil {
			return err
		}
		for _, layer := range named.Image.Layers {
			name := layer.Digest.Encoded() + "/layer.tar"
			e.Layers = append(e.Layers, name)
			if err := a.file(name, layer.Data); err != nil {
				return err
			}
		}
		list = append(list, e)
	}
	return a.json("manifest.json", list)
}
