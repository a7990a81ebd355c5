// SPDX-License-Identifier: Apache-2.0

package volumes

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

// A projected volume looks as the kubelet has it, and programs in containers
// know it by that:
//
//	config.yaml        -> ..data/config.yaml
//	keys               -> ..data/keys
//	..data             -> ..2026_02_01_15_04_05.123456789
//	..2026_02_01_15_04_05.123456789/config.yaml
//	..2026_02_01_15_04_05.123456789/keys/a
//
// All files change at once, when ..data is renamed over its predecessor.
const (
	dataLink    = "..data"
	dataLinkNew = "..data_tmp"
	stampFormat = "..2006_01_02_15_04_05.000000000"
)

// swap replaces the files of one volume. Nothing that it does leaves root, and
// whatever it is interrupted in, another swap puts right.
type swap struct {
	root  *os.Root
	files Files
	group *int64
}

// project makes a volume's directory have exactly the files, and the directories
// nested, on which other volumes are mounted. What is right already is left as it
// is, so that a container sees a change only where there is one.
func project(dir string, files Files, nested []string, group *int64) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	s := swap{root: root, files: make(Files, len(files)), group: group}
	for name, f := range files {
		s.files[path.Clean(name)] = f
	}
	old, err := root.Readlink(dataLink)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	same := false
	if old != "" {
		if same, err = s.isCurrent(old); err != nil {
			return err
		}
	}
	if !same {
		if old, err = s.write(); err != nil {
			return err
		}
	}
	if err := s.nest(nested); err != nil {
		return err
	}
	if err := s.link(); err != nil {
		return err
	}
	return s.tidy(old)
}

// isCurrent compares what is in a stamped directory with what should be.
func (s *swap) isCurrent(stamp string) (bool, error) {
	found := 0
	changed := false
	err := fs.WalkDir(s.root.FS(), stamp, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || changed {
			return err
		}
		want, ok := s.files[strings.TrimPrefix(name, stamp+"/")]
		if !ok {
			changed = true
			return nil
		}
		found++
		info, err := d.Info()
		if err != nil || info.Size() != int64(len(want.Data)) {
			changed = true
			return err
		}
		data, err := s.root.ReadFile(name)
		changed = !bytes.Equal(data, want.Data)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return !changed && found == len(s.files), err
}

// write makes a new stamped directory and lets ..data point to it.
func (s *swap) write() (stamp string, err error) {
	stamp = time.Now().UTC().Format(stampFormat)
	if err := s.mkdir(s.root, stamp); err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.root.RemoveAll(stamp))
		}
	}()
	if err := s.fill(stamp); err != nil {
		return "", err
	}
	if err := s.root.Remove(dataLinkNew); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if err := s.root.Symlink(stamp, dataLinkNew); err != nil {
		return "", err
	}
	if err := s.ownLink(dataLinkNew, nil); err != nil {
		return "", err
	}
	return stamp, s.root.Rename(dataLinkNew, dataLink)
}

func (s *swap) names() []string {
	names := make([]string, 0, len(s.files))
	for name := range s.files {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// fill writes all files into the stamped directory.
func (s *swap) fill(stamp string) error {
	dir, err := s.root.OpenRoot(stamp)
	if err != nil {
		return err
	}
	defer dir.Close()
	for _, name := range s.names() {
		if err := s.file(dir, name, s.files[name]); err != nil {
			return err
		}
	}
	return nil
}

// file writes one file with exactly its mode. With an fsGroup the group can read
// it, whatever the mode says, as with the kubelet.
func (s *swap) file(dir *os.Root, name string, f File) error {
	for i, c := range name {
		if c != '/' {
			continue
		}
		if err := s.mkdir(dir, name[:i]); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	// Nobody but us until it has its owner and mode.
	out, err := dir.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = out.Write(f.Data)
	if uid, gid := s.owner(f.Owner); err == nil && (uid >= 0 || gid >= 0) {
		err = out.Chown(uid, gid)
	}
	mode := fs.FileMode(f.Mode & 0o777)
	if s.group != nil {
		mode |= 0o440
	}
	if err == nil {
		err = out.Chmod(mode)
	}
	return errors.Join(err, out.Close())
}

func (s *swap) mkdir(in *os.Root, name string) error {
	if err := in.Mkdir(name, 0o700); err != nil {
		return err
	}
	mode := fs.FileMode(0o755)
	if s.group != nil {
		mode |= fs.ModeSetgid
		if err := in.Lchown(name, -1, int(*s.group)); err != nil {
			return err
		}
	}
	return in.Chmod(name, mode)
}

// ownLink gives a symbolic link to its owner.
func (s *swap) ownLink(name string, owner *int64) error {
	uid, gid := s.owner(owner)
	if uid < 0 && gid < 0 {
		return nil
	}
	return s.root.Lchown(name, uid, gid)
}

// owner is whom a file belongs to; -1 leaves it as it is.
func (s *swap) owner(user *int64) (uid, gid int) {
	uid, gid = -1, -1
	if user != nil {
		uid = int(*user)
	}
	if s.group != nil {
		gid = int(*s.group)
	}
	return uid, gid
}

// nest makes the directories in which a container mounts something else: it
// cannot make them itself, for it has the volume read-only.
func (s *swap) nest(dirs []string) error {
	for _, dir := range dirs {
		if checkFilePath(dir) != nil {
			continue // reaches out of the volume, or into its swap; the mount will tell
		}
		first, _, _ := strings.Cut(path.Clean(dir), "/")
		if s.has(first) {
			continue // it is a file's or a link's place
		}
		if err := s.root.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make the place of another volume: %w", err)
		}
	}
	return nil
}

// has tells whether a name at the top of the volume is one of the files or a
// directory of theirs.
func (s *swap) has(top string) bool {
	for name := range s.files {
		if first, _, _ := strings.Cut(name, "/"); first == top {
			return true
		}
	}
	return false
}

// link makes the links at the top, for those that users see.
func (s *swap) link() error {
	for _, name := range s.names() {
		first, _, _ := strings.Cut(name, "/")
		err := s.root.Symlink(path.Join(dataLink, first), first)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := s.ownLink(first, s.files[name].Owner); err != nil {
			return err
		}
	}
	return nil
}

// tidy removes links of files that are no more, and stamped directories other
// than the one in use.
func (s *swap) tidy(current string) error {
	top, err := fs.ReadDir(s.root.FS(), ".")
	if err != nil {
		return err
	}
	for _, e := range top {
		name := e.Name()
		switch {
		case name == dataLink || name == current:
			continue
		case strings.HasPrefix(name, ".."):
			if err := s.root.RemoveAll(name); err != nil {
				return err
			}
		case e.Type() == fs.ModeSymlink && !s.has(name):
			if to, err := s.root.Readlink(name); err != nil || !strings.HasPrefix(to, dataLink+"/") {
				continue
			}
			if err := s.root.Remove(name); err != nil {
				return err
			}
		}
	}
	return nil
}
