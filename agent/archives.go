// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/minikubelet/minikubelet/runtime/image"
)

// archivesSettle is how long the directory of archives must be quiet before it is
// read: a copy of hundreds of megabytes takes its time, and pauses.
const archivesSettle = time.Second

// followArchives takes in the image archives of the data directory, those that
// lie there and those that come later, until ctx ends. done is called after the
// first round and after each later one.
func (a *Agent) followArchives(ctx context.Context, done func()) {
	watcher, err := fsnotify.NewWatcher()
	if err == nil {
		defer watcher.Close()
		err = watcher.Add(a.cfg.imagesDir())
	}
	if err != nil {
		a.log.Warn("image archives are looked for at the start only", "directory", a.cfg.imagesDir(), "err", err)
		a.importArchives(ctx)
		done()
		return
	}
	quiet := time.NewTimer(0)
	defer quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case event := <-watcher.Events:
			if !event.Has(fsnotify.Chmod) && !event.Has(fsnotify.Remove) {
				quiet.Reset(archivesSettle)
			}
		case err := <-watcher.Errors: // events were lost: look
			a.log.Warn("watching for image archives", "err", err)
			quiet.Reset(archivesSettle)
		case <-quiet.C:
			a.importArchives(ctx)
			done()
		}
	}
}

// importArchives takes in the archives that the image store does not have yet.
func (a *Agent) importArchives(ctx context.Context) {
	results, err := a.images.ImportDir(ctx, a.cfg.imagesDir(), image.ImportOptions{})
	if err != nil && !errors.Is(err, fs.ErrNotExist) && ctx.Err() == nil {
		a.log.Error("cannot import image archives", "directory", a.cfg.imagesDir(), "err", err)
	}
	for _, r := range results {
		switch {
		case r.Err != nil:
			a.log.Error("image archive not imported", "file", r.Path, "err", r.Err)
		case !r.Skipped:
			a.log.Info("image archive imported", "file", r.Path, "images", len(r.Images))
		}
	}
}
