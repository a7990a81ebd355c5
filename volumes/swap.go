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
	if err := s.mkdir(stamp); err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.root.RemoveAll(stamp))
		}
	}()
	for _, name := range s.names() {
		if err := s.file(stamp, name, s.files[name]); err != nil {
			return "", err
		}
	}
	if err := s.root.Remove(dataLinkNew); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if err := s.root.Symlink(stamp, dataLinkNew); err != nil {
		return "", err
	}
	if err := s.own(dataLinkNew, nil); err != nil {
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

// file writes one file with exactly its mode. With an fsGroup the group can read
// it, whatever the mode says, as with the kubelet.
func (s *swap) file(stamp, name string, f File) error {
	parent := stamp
	for _, part := range strings.Split(path.Dir(name), "/") {
		if parent = path.Join(parent, part); part == "." {
			break
		}
		if _, err := s.root.Lstat(parent); errors.Is(err, fs.ErrNotExist) {
			err = s.mkdir(parent)
			if err != nil {
				return err
			}
		}
	}
	full := path.Join(stamp, name)
	// Nobody but us until it has its owner and mode.
	if err := s.root.WriteFile(full, f.Data, 0o600); err != nil {
		return err
	}
	if err := s.own(full, f.Owner); err != nil {
		return err
	}
	mode := fs.FileMode(f.Mode & 0o777)
	if s.group != nil {
		mode |= 0o440
	}
	return s.root.Chmod(full, mode)
}

func (s *swap) mkdir(name string) error {
	if err := s.root.Mkdir(name, 0o700); err != nil {
		return err
	}
	if err := s.own(name, nil); err != nil {
		return err
	}
	mode := fs.FileMode(0o755)
	if s.group != nil {
		mode |= fs.ModeSetgid
	}
	return s.root.Chmod(name, mode)
}

func (s *swap) own(name string, owner *int64) error {
	uid, gid := -1, -1
	if owner != nil {
		uid = int(*owner)
	}
	if s.group != nil {
		gid = int(*s.group)
	}
	if uid < 0 && gid < 0 {
		return nil
	}
	return s.root.Lchown(name, uid, gid)
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
		if _, err := s.root.Lstat(first); err == nil {
			continue
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := s.root.Symlink(path.Join(dataLink, first), first); err != nil {
			return err
		}
		if err := s.own(first, s.files[name].Owner); err != nil {
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
