// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"sync"

	"github.com/minikubelet/minikubelet/runtime/spec"
)

// usersMax bounds how many images' user data bases are kept.
const usersMax = 64

// users keeps the user data bases of images that were run: reading them means to
// mount the image, and they never change.
type users struct {
	mu   sync.Mutex
	byID map[string]*spec.UserFiles
}

// of returns an image's; view mounts the image when it is not known yet.
func (u *users) of(imageID string, view func(func(root string) error) error) (*spec.UserFiles, error) {
	u.mu.Lock()
	files := u.byID[imageID]
	u.mu.Unlock()
	if files != nil {
		return files, nil
	}
	files = new(spec.UserFiles)
	if err := view(func(root string) (err error) {
		*files, err = spec.ReadUserFiles(root)
		return err
	}); err != nil {
		return nil, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.byID == nil || len(u.byID) >= usersMax {
		u.byID = make(map[string]*spec.UserFiles)
	}
	u.byID[imageID] = files
	return files, nil
}
