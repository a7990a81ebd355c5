// SPDX-License-Identifier: Apache-2.0

package image

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/minikubelet/minikubelet/runtime/engine"
	"github.com/minikubelet/minikubelet/runtime/image/imagetest"
)

// newStore returns a store on a real containerd of its own.
func newStore(t *testing.T, limits Limits) (*Store, context.Context) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	state, err := os.MkdirTemp("/run", "image-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(state) })
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	e, err := engine.Embedded(t.Context(), engine.Config{Root: filepath.Join(t.TempDir(), "root"), State: state, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	s, err := New(Config{Client: e.Client(), Namespace: e.Namespace(), Limits: limits, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	return s, s.within(t.Context())
}

// small is an image of a few files in two layers, without busybox.
func small(t *testing.T, o imagetest.Options) *imagetest.Image {
	t.Helper()
	o.Busybox = "-"
	if o.Files == nil {
		o.Files = []imagetest.File{{Path: "etc/motd", Mode: 0o644, Content: []byte("hello\n")}}
	}
	img, err := imagetest.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// addLayer puts a further layer on an image.
func addLayer(t *testing.T, img *imagetest.Image, c imagetest.Compression, files ...imagetest.File) {
	t.Helper()
	plain, err := imagetest.Tar(files)
	if err != nil {
		t.Fatal(err)
	}
	if err := img.AddLayer(c, plain); err != nil {
		t.Fatal(err)
	}
}

func archiveOf(t *testing.T, f imagetest.Format, c imagetest.Compression, images ...imagetest.Named) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := imagetest.WriteArchive(&buf, f, c, images...); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func mustImport(t *testing.T, s *Store, data []byte, o ImportOptions) []Image {
	t.Helper()
	imported, err := s.Import(t.Context(), bytes.NewReader(data), o)
	if err != nil {
		t.Fatal(err)
	}
	return imported
}

// readFile reads a file of an unpacked image.
func readFile(t *testing.T, s *Store, img Image, path string) string {
	t.Helper()
	ctx := s.within(t.Context())
	ctx, _, release, err := s.lease(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	mounts, err := s.snapshots().View(ctx, "view-"+filepath.Base(t.Name()), img.ChainID.String())
	if err != nil {
		t.Fatal(err)
	}
	defer s.snapshots().Remove(ctx, "view-"+filepath.Base(t.Name()))
	var data []byte
	err = mount.WithReadonlyTempMount(ctx, mounts, func(root string) error {
		data, err = os.ReadFile(filepath.Join(root, path))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestGetFindsByNameDigestAndID(t *testing.T) {
	s, _ := newStore(t, Limits{})
	img := small(t, imagetest.Options{Config: ocispec.ImageConfig{Env: []string{"A=b"}}})
	mustImport(t, s, archiveOf(t, imagetest.OCI, imagetest.None, imagetest.Named{Image: img, Names: []string{"one:1", "example.com/two:2"}}), ImportOptions{})
	d := img.Manifest.Digest.String()
	for _, ref := range []string{"one:1", "docker.io/library/one:1", "one@" + d, "one:other@" + d, "example.com/two@" + d, img.Config.Digest.String(), d} {
		got, ok, err := s.Get(t.Context(), ref)
		if err != nil || !ok {
			t.Errorf("Get(%s) = %v, %v", ref, ok, err)
			continue
		}
		if got.ID != img.Config.Digest || got.Digest != img.Manifest.Digest || !slices.Equal(got.Config.Env, []string{"A=b"}) {
			t.Errorf("Get(%s) = %+v", ref, got)
		}
		if !slices.Equal(got.RepoTags, []string{"docker.io/library/one:1", "example.com/two:2"}) {
			t.Errorf("RepoTags %v", got.RepoTags)
		}
		if !slices.Equal(got.RepoDigests, []string{"docker.io/library/one@" + d, "example.com/two@" + d}) {
			t.Errorf("RepoDigests %v", got.RepoDigests)
		}
	}
	for _, ref := range []string{"one:2", "three@" + d, "sha256:" + strings.Repeat("0", 64)} {
		if _, ok, err := s.Get(t.Context(), ref); ok || err != nil {
			t.Errorf("Get(%s) = %v, %v", ref, ok, err)
		}
	}
	var invalid *InvalidNameError
	if _, _, err := s.Get(t.Context(), "One"); !errors.As(err, &invalid) {
		t.Errorf("Get(One): %v", err)
	}
}

// What a crash or a damaged disk may leave must count as absent, or be made whole, but never be used.
func TestGetLooksAtTheContent(t *testing.T) {
	img := small(t, imagetest.Options{})
	data := archiveOf(t, imagetest.OCI, imagetest.None, imagetest.Named{Image: img, Names: []string{"a:1"}})
	for _, c := range []struct {
		name    string
		damage  func(*testing.T, *Store, context.Context, Image)
		present bool
	}{
		{"snapshot gone, layers there", dropSnapshot, true},
		{"snapshot and layer gone", func(t *testing.T, s *Store, ctx context.Context, i Image) {
			dropSnapshot(t, s, ctx, i)
			dropBlob(t, s, ctx, img.Layers[0].Digest)
		}, false},
		{"manifest gone", func(t *testing.T, s *Store, ctx context.Context, i Image) { dropBlob(t, s, ctx, i.Digest) }, false},
		{"configuration gone", func(t *testing.T, s *Store, ctx context.Context, i Image) { dropBlob(t, s, ctx, i.ID) }, false},
		{"manifest's file gone", func(t *testing.T, s *Store, ctx context.Context, i Image) {
			if err := os.Remove(blobFile(t, i.Digest)); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"configuration zeroed", func(t *testing.T, s *Store, ctx context.Context, i Image) { zero(t, i.ID) }, false},
		{"layer zeroed, snapshot gone", func(t *testing.T, s *Store, ctx context.Context, i Image) {
			dropSnapshot(t, s, ctx, i)
			zero(t, img.Layers[0].Digest)
		}, false},
		{"layer cut, snapshot gone", func(t *testing.T, s *Store, ctx context.Context, i Image) {
			dropSnapshot(t, s, ctx, i)
			if err := os.Truncate(blobFile(t, img.Layers[0].Digest), 10); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"layer gone, snapshot there", func(t *testing.T, s *Store, ctx context.Context, i Image) { dropBlob(t, s, ctx, img.Layers[0].Digest) }, true},
	} {
		for _, cold := range []bool{false, true} {
			if !cold && strings.HasPrefix(c.name, "configuration zeroed") {
				continue // what was read before the damage is right, and goes on being used
			}
			s, ctx := newStore(t, Limits{})
			imported := mustImport(t, s, data, ImportOptions{})[0]
			c.damage(t, s, ctx, imported)
			if cold {
				s.details = newDetailsCache(1)
			}
			got, ok, err := s.Get(t.Context(), "a:1")
			if err != nil || ok != c.present {
				t.Errorf("%s (cold %v): %v, %v", c.name, cold, ok, err)
			}
			if ok && readFile(t, s, got, "etc/motd") != "hello\n" {
				t.Errorf("%s (cold %v): wrong content", c.name, cold)
			}
			list, err := s.List(t.Context())
			if err != nil || len(list) != 1 || (list[0].Problem == "") != c.present {
				t.Errorf("%s (cold %v): List %+v, %v", c.name, cold, list, err)
			}
			// Importing it again always repairs it.
			again := mustImport(t, s, data, ImportOptions{})[0]
			if got, ok, err := s.Get(t.Context(), "a:1"); !ok || err != nil || got.ID != again.ID {
				t.Errorf("%s (cold %v): after a second import %v, %v", c.name, cold, ok, err)
			}
		}
	}
}

// blobFile is the file of content in the store of this test that was made last.
func blobFile(t *testing.T, d digest.Digest) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(filepath.Dir(t.TempDir()), "*", "root", "io.containerd.content.v1.content", "blobs", "sha256", d.Encoded()))
	if err != nil || len(found) == 0 {
		t.Fatalf("no file of %s: %v", d, err)
	}
	slices.SortFunc(found, func(a, b string) int {
		x, _ := os.Stat(a)
		y, _ := os.Stat(b)
		return y.ModTime().Compare(x.ModTime())
	})
	return found[0]
}

// zero overwrites content as a power cut may.
func zero(t *testing.T, d digest.Digest) {
	t.Helper()
	path := blobFile(t, d)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, make([]byte, info.Size()), 0o444); err != nil {
		t.Fatal(err)
	}
}

func dropSnapshot(t *testing.T, s *Store, ctx context.Context, img Image) {
	t.Helper()
	if err := s.snapshots().Remove(ctx, img.ChainID.String()); err != nil {
		t.Fatal(err)
	}
}

func dropBlob(t *testing.T, s *Store, ctx context.Context, d digest.Digest) {
	t.Helper()
	if err := s.content().Delete(ctx, d); err != nil {
		t.Fatal(err)
	}
}

func TestRemove(t *testing.T) {
	s, ctx := newStore(t, Limits{})
	img := small(t, imagetest.Options{})
	mustImport(t, s, archiveOf(t, imagetest.OCI, imagetest.None, imagetest.Named{Image: img, Names: []string{"a:1", "b:1"}}), ImportOptions{})
	spec, err := typeurl.MarshalAny(&specs.Spec{})
	if err != nil {
		t.Fatal(err)
	}
	id := strings.Repeat("c", 64)
	_, err = s.client.ContainerService().Create(ctx, containers.Container{ID: id, Image: "docker.io/library/a:1", Spec: spec,
		Runtime: containers.RuntimeInfo{Name: "io.containerd.runc.v2"},
		Labels:  map[string]string{labelPodNamespace: "default", labelPodName: "web", labelContainer: "app"}})
	if err != nil {
		t.Fatal(err)
	}
	var inUse *InUseError
	for _, ref := range []string{"a:1", img.Config.Digest.String()} {
		removed, err := s.Remove(t.Context(), ref, false)
		if !errors.As(err, &inUse) || !strings.Contains(err.Error(), "default/web app (cccccccccccc…)") || len(removed) > 0 {
			t.Fatalf("Remove(%s) of an image in use: %v, %v", ref, removed, err)
		}
	}
	if list, _ := s.List(t.Context()); len(list) != 2 {
		t.Fatalf("something was removed: %v", list)
	}
	if removed, err := s.Remove(t.Context(), "b:1", false); err != nil || !slices.Equal(removed, []string{"docker.io/library/b:1"}) {
		t.Fatalf("%v, %v", removed, err)
	}
	if removed, err := s.Remove(t.Context(), "a:1", true); err != nil || len(removed) != 1 {
		t.Fatalf("forced: %v, %v", removed, err)
	}
	if removed, err := s.Remove(t.Context(), "a:1", false); err != nil || len(removed) != 0 {
		t.Fatalf("of what is not there: %v, %v", removed, err)
	}
	expectEmpty(t, s, ctx)
}

// expectEmpty checks that the store holds no content, snapshots or leases any more.
func expectEmpty(t *testing.T, s *Store, ctx context.Context) {
	t.Helper()
	// One synchronous deletion runs the garbage collector.
	l, err := s.client.LeasesService().Create(ctx, leases.WithRandomID())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.client.LeasesService().Delete(ctx, l, leases.SynchronousDelete); err != nil {
		t.Fatal(err)
	}
	if left, _ := s.client.LeasesService().List(ctx); len(left) > 0 {
		t.Errorf("leases are left: %v", left)
	}
	var blobs []string
	if err := s.content().Walk(ctx, walkDigests(&blobs)); err != nil {
		t.Fatal(err)
	}
	if len(blobs) > 0 {
		t.Errorf("content is left: %v", blobs)
	}
	var snaps []string
	if err := s.snapshots().Walk(ctx, walkKeys(&snaps)); err != nil {
		t.Fatal(err)
	}
	if len(snaps) > 0 {
		t.Errorf("snapshots are left: %v", snaps)
	}
	if ingests, err := s.content().ListStatuses(ctx); err != nil || len(ingests) > 0 {
		t.Errorf("unfinished content is left: %v, %v", ingests, err)
	}
}

func TestPutKeepsLabels(t *testing.T) {
	s, ctx := newStore(t, Limits{})
	target := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("x"), Size: 1}
	if _, err := s.put(ctx, "a", target, map[string]string{"k": "1", "l": "1"}); err != nil {
		t.Fatal(err)
	}
	var record images.Image
	record, err := s.put(ctx, "a", target, map[string]string{"l": "2"})
	if err != nil || record.Labels["k"] != "1" || record.Labels["l"] != "2" {
		t.Errorf("%v, %v", record.Labels, err)
	}
}

// What a killed process had begun goes; what somebody else keeps in the namespace stays.
func TestDropAbandoned(t *testing.T) {
	s, ctx := newStore(t, Limits{})
	write := func(ctx context.Context, data string) digest.Digest {
		t.Helper()
		desc := ocispec.Descriptor{Digest: digest.FromString(data), Size: int64(len(data))}
		if err := content.WriteBlob(ctx, s.content(), data, strings.NewReader(data), desc); err != nil {
			t.Fatal(err)
		}
		return desc.Digest
	}
	ours, _, _, err := s.lease(ctx)
	if err != nil {
		t.Fatal(err)
	}
	half := write(ours, "half an image")
	foreign, err := s.client.LeasesService().Create(ctx, leases.WithID("foreign"))
	if err != nil {
		t.Fatal(err)
	}
	kept := write(leases.WithLease(ctx, foreign.ID), "somebody's")

	if err := s.DropAbandoned(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.content().Info(ctx, half); !errdefs.IsNotFound(err) {
		t.Errorf("half an image: %v", err)
	}
	if _, err := s.content().Info(ctx, kept); err != nil {
		t.Errorf("another's content: %v", err)
	}
}

// newClientless returns a client that is connected to nothing, for what must fail before it is used.
func newClientless(t *testing.T) *containerd.Client {
	t.Helper()
	client, err := containerd.New("", containerd.WithServices())
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// Damaged content that nobody has looked at yet must not make the next pull or import fail.
func TestDamageIsRepairedAtOnce(t *testing.T) {
	img := small(t, imagetest.Options{})
	r := newRegistry(t, nil)
	ref := r.push(t, "a", "1", img)
	path := filepath.Join(t.TempDir(), "a.tar")
	if err := os.WriteFile(path, archiveOf(t, imagetest.OCI, imagetest.None, imagetest.Named{Image: img, Names: []string{ref}}), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, damage := range map[string]func(*testing.T, digest.Digest){
		"file gone": func(t *testing.T, d digest.Digest) {
			if err := os.Remove(blobFile(t, d)); err != nil {
				t.Fatal(err)
			}
		},
		"zeroed": zero,
	} {
		for _, blob := range []imagetest.Blob{img.Manifest, img.Config, img.Layers[0]} {
			for _, how := range []string{"pull", "import"} {
				t.Run(name+" "+blob.MediaType+" "+how, func(t *testing.T) {
					s, ctx := newStore(t, Limits{})
					got, err := s.Pull(t.Context(), ref, PullOptions{})
					if err != nil {
						t.Fatal(err)
					}
					dropSnapshot(t, s, ctx, got)
					damage(t, blob.Digest)
					s.details = newDetailsCache(1)
					if how == "pull" {
						_, err = s.Pull(t.Context(), ref, PullOptions{})
					} else {
						_, err = s.ImportFile(t.Context(), path, ImportOptions{})
					}
					if err != nil {
						t.Fatal(err)
					}
					if got, ok, err := s.Get(t.Context(), ref); !ok || err != nil || readFile(t, s, got, "etc/motd") != "hello\n" {
						t.Errorf("%v, %v", ok, err)
					}
				})
			}
		}
	}
}
