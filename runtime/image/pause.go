// SPDX-License-Identifier: Apache-2.0

package image

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// pauseName is the built-in image's name without its tag. The domain exists nowhere, so no registry is ever asked for it.
const pauseName = "minikubelet.local/pause"

// pauseVersion is raised when the program or the image changes.
const pauseVersion = "1"

// PauseImage is the name of the built-in pause image.
func PauseImage() string { return pauseName + ":" + pauseVersion }

// EnsurePause makes the pause image unless it is there, and returns its name. It needs no registry: the program is a few
// hundred bytes of machine code for amd64 and arm64; elsewhere it is an error, and a pause image must be configured.
func (s *Store) EnsurePause(ctx context.Context) (string, error) {
	s.pauseLock.Lock()
	defer s.pauseLock.Unlock()
	name := PauseImage()
	if _, ok, err := s.Get(ctx, name); err != nil || ok {
		return name, err
	}
	blobs, err := buildPause(runtime.GOARCH)
	if err != nil {
		return "", fmt.Errorf("built-in pause image: %w", err)
	}
	ctx, _, release, err := s.lease(s.within(ctx))
	if err != nil {
		return "", fmt.Errorf("built-in pause image: %w", err)
	}
	defer release()
	var target ocispec.Descriptor
	for _, b := range blobs {
		if target, err = writeBytes(ctx, s.content(), b.mediaType, b.data); err != nil {
			return "", classify(name, err)
		}
	}
	if err := s.unpack(ctx, target, nil, nil); err != nil {
		return "", classify(name, err)
	}
	record, err := s.put(ctx, name, target, map[string]string{labelSource: sourceBuiltIn})
	if err != nil {
		return "", classify(name, err)
	}
	_, err = s.finished(ctx, record)
	return name, classify(name, err)
}

type typedBlob struct {
	mediaType string
	data      []byte
}

// buildPause returns the layer, the configuration and, last, the manifest. It is reproducible.
func buildPause(arch string) ([]typedBlob, error) {
	program, err := pauseProgram(arch)
	if err != nil {
		return nil, err
	}
	layer, err := oneFile("pause", program)
	if err != nil {
		return nil, err
	}
	epoch := time.Unix(0, 0).UTC()
	config := ocispec.Image{
		Created:  &epoch,
		Platform: ocispec.Platform{OS: "linux", Architecture: arch},
		Config:   ocispec.ImageConfig{Entrypoint: []string{"/pause"}, WorkingDir: "/", User: "65535:65535"},
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(layer)}},
	}
	configJSON, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	manifestJSON, err := json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest,
		Config:    describeBytes(ocispec.MediaTypeImageConfig, configJSON),
		Layers:    []ocispec.Descriptor{describeBytes(ocispec.MediaTypeImageLayer, layer)},
	})
	if err != nil {
		return nil, err
	}
	return []typedBlob{
		{ocispec.MediaTypeImageLayer, layer},
		{ocispec.MediaTypeImageConfig, configJSON},
		{ocispec.MediaTypeImageManifest, manifestJSON},
	}, nil
}

func describeBytes(mediaType string, data []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
}

// oneFile is a tar archive of one executable.
func oneFile(name string, data []byte) ([]byte, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755, Size: int64(len(data)), ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}
	if err := w.WriteHeader(h); err != nil {
		return nil, err
	}
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	err := w.Close()
	return buf.Bytes(), err
}
