// SPDX-License-Identifier: Apache-2.0

package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
)

// ImportOptions say how to import an archive.
type ImportOptions struct {
	Name     string         // the image's name; needed when the archive has none, wins when it has one, an error when it has several images
	Size     int64          // bytes to be read, for the progress; 0: unknown
	Progress func(Progress) // as in PullOptions
	Subject  string         // how errors call the archive; "" for "image archive"
	labels   map[string]string
}

// Import reads an archive as `docker save`, `podman save`, `skopeo copy` or buildkit write them (OCI layout or docker format,
// plain, gzip or zstd, recognised by its content), and unpacks its images. It returns one Image for each name. Names are
// those of the annotation io.containerd.image.name, of org.opencontainers.image.ref.name where that is a whole name and not
// only a tag, and of RepoTags, normalised. On an error no name in the store has changed, unless the last steps failed, which
// only write records. The error is an *Error or an *InvalidNameError.
func (s *Store) Import(ctx context.Context, r io.Reader, o ImportOptions) ([]Image, error) {
	if o.Subject == "" {
		o.Subject = "image archive"
	}
	ctx = s.within(ctx)
	ctx, lease, release, err := s.lease(ctx)
	if err != nil {
		return nil, &Error{Subject: o.Subject, Err: err}
	}
	defer release()

	seen := newTracker(o.Progress)
	m := newMeter(s.limits)
	plain, err := decompress(seen.countFile(contextReader(ctx, r), o.Size), m)
	if err != nil {
		return nil, classify(o.Subject, err)
	}
	defer plain.Close()
	a := archiveReader{store: s.content(), meter: m, refs: "import-" + lease.ID}
	contents, err := a.read(ctx, plain)
	if err != nil {
		return nil, classify(o.Subject, err)
	}
	contents, err = named(contents, o.Name)
	if err != nil {
		return nil, classify(o.Subject, err)
	}
	for _, c := range contents {
		err := s.unpack(ctx, c.target, nil, seen)
		if err == nil {
			_, err = s.inspect(ctx, c.target)
		}
		if err != nil {
			if errors.Is(err, errIncomplete) || errdefs.IsNotFound(err) {
				err = fmt.Errorf("%w: %s: %w", ErrCorrupt, c.names[0], err)
			}
			if s.scrub(ctx, c.target) {
				err = fmt.Errorf("%w: %w", ErrScrubbed, err)
			}
			return nil, classify(o.Subject, err)
		}
	}
	imported, err := s.record(ctx, contents, o.labels)
	if err != nil {
		return nil, classify(o.Subject, err)
	}
	seen.done()
	return imported, nil
}

// record writes the records of unpacked images, and describes them.
func (s *Store) record(ctx context.Context, contents []archived, labels map[string]string) ([]Image, error) {
	var records []images.Image
	for _, c := range contents {
		all := map[string]string{labelSource: c.source}
		for k, v := range labels {
			all[k] = v
		}
		for _, name := range c.names {
			record, err := s.put(ctx, name, c.target, all)
			if err != nil {
				return nil, fmt.Errorf("write the image's record: %w", err)
			}
			records = append(records, record)
		}
	}
	var imported []Image
	for _, record := range records {
		img, err := s.finished(ctx, record)
		if err != nil {
			return nil, err
		}
		imported = append(imported, img)
	}
	return imported, nil
}

// named settles the names of an archive's images.
func named(contents []archived, name string) ([]archived, error) {
	if name != "" {
		full, err := Normalise(name)
		if err != nil {
			return nil, err
		}
		if len(contents) != 1 {
			return nil, fmt.Errorf("the archive has %d images, so one name (--name %s) does not fit: leave it out", len(contents), name)
		}
		contents[0].names = []string{full}
		return contents, nil
	}
	for _, c := range contents {
		if len(c.names) == 0 {
			return nil, fmt.Errorf("%w (%s): give one with --name", ErrNoName, c.target.Digest)
		}
	}
	return contents, nil
}

// ImportFile imports the archive in a file.
func (s *Store) ImportFile(ctx context.Context, path string, o ImportOptions) ([]Image, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, &Error{Subject: path, Err: errors.New("it is a directory; an image archive is a file")}
	}
	o.Subject, o.Size = path, info.Size()
	imported, err := s.Import(ctx, f, o)
	if errors.Is(err, ErrScrubbed) {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return nil, err
		}
		imported, err = s.Import(ctx, f, o)
	}
	return imported, err
}

// FileResult is what became of one file of a directory.
type FileResult struct {
	Path    string
	Images  []Image // imported now, or found unchanged
	Skipped bool    // the store has the images of exactly this file already
	Err     error
}

// archiveSuffixes are the names that ImportDir takes for archives.
var archiveSuffixes = []string{".tar", ".tgz", ".tar.gz", ".tar.zst", ".tar.zstd", ".tzst", ".oci"}

// fileLabel is the prefix of the labels by which an image's record says which file it came from. The value is the file's size
// and time. They outlive a pull of the same name, so that a newer pulled image is not replaced at the next start.
const fileLabel = "minikubelet/import-"

// ImportDir imports the archives of a directory, in the order of their names, except those that the store has already. An
// error with one file does not stop the others. A directory that does not exist has no files. Sub-directories, hidden files
// and files with other names than an archive's (.tar, .tgz, .tar.gz, .tar.zst, .oci) are left alone.
func (s *Store) ImportDir(ctx context.Context, dir string, o ImportOptions) ([]FileResult, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("image archives: %w", err)
	}
	var results []FileResult
	for _, entry := range entries {
		if ctx.Err() != nil {
			return results, ctx.Err()
		}
		if isArchiveName(entry.Name()) {
			if result, ok := s.importEntry(ctx, filepath.Join(dir, entry.Name()), o); ok {
				results = append(results, result)
			}
		}
	}
	return results, nil
}

// importEntry is false when the path is no regular file.
func (s *Store) importEntry(ctx context.Context, path string, o ImportOptions) (FileResult, bool) {
	result := FileResult{Path: path}
	info, err := os.Stat(path)
	if err != nil {
		result.Err = err
		return result, true
	}
	if !info.Mode().IsRegular() {
		return result, false
	}
	sum := sha256.Sum256([]byte(filepath.Base(path)))
	key := fileLabel + hex.EncodeToString(sum[:8])
	state := strconv.FormatInt(info.Size(), 10) + "-" + strconv.FormatInt(info.ModTime().UnixNano(), 10)
	if result.Images, err = s.importedBefore(ctx, key, state); err != nil {
		result.Err = err
		return result, true
	}
	if len(result.Images) > 0 {
		result.Skipped = true
		return result, true
	}
	o.Name, o.labels = "", map[string]string{key: state}
	result.Images, result.Err = s.ImportFile(ctx, path, o)
	return result, true
}

// importedBefore returns the images with a file's label, if all of them are whole.
func (s *Store) importedBefore(ctx context.Context, key, state string) ([]Image, error) {
	ctx = s.within(ctx)
	all, err := s.records().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	var found []Image
	for _, record := range all {
		if record.Labels[key] != state {
			continue
		}
		d, err := s.whole(ctx, record)
		if err != nil {
			return nil, nil // import it again
		}
		found = append(found, describe(record, d, all))
	}
	return found, nil
}

func isArchiveName(name string) bool {
	if strings.HasPrefix(name, ".") {
		return false
	}
	for _, suffix := range archiveSuffixes {
		if strings.HasSuffix(name, suffix) {
			return true
		}
	}
	return false
}

// contextReader ends a read when the context has ended.
func contextReader(ctx context.Context, r io.Reader) io.Reader {
	return readerFunc(func(p []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		return r.Read(p)
	})
}
