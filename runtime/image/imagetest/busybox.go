// SPDX-License-Identifier: Apache-2.0

package imagetest

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
)

// DefaultBusybox is where Debian's and Ubuntu's package busybox-static puts it.
const DefaultBusybox = "/bin/busybox"

// DefaultName is the name of the image that Build makes when none is given.
const DefaultName = "docker.io/library/busybox:latest"

// File is a file, directory or link of an image.
type File struct {
	Path    string // without a leading slash
	Mode    int64  // permission bits, with set-uid, set-gid and sticky as in stat(2)
	UID     int
	GID     int
	Dir     bool
	Link    string // target of a symbolic link
	Content []byte
}

// busyboxFiles is a root file system: busybox at path, its applets as links, users and the usual directories.
func busyboxFiles(path string) ([]File, error) {
	program, err := readStatic(path)
	if err != nil {
		return nil, err
	}
	applets, err := exec.Command(path, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("%s --list: %w", path, err)
	}
	files := []File{
		{Path: "bin", Mode: 0o755, Dir: true},
		{Path: "bin/busybox", Mode: 0o755, Content: program},
		{Path: "dev", Mode: 0o755, Dir: true},
		{Path: "etc", Mode: 0o755, Dir: true},
		{Path: "etc/passwd", Mode: 0o644, Content: []byte("root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home/app:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")},
		{Path: "etc/group", Mode: 0o644, Content: []byte("root:x:0:\napp:x:1000:\nnobody:x:65534:\n")},
		{Path: "home", Mode: 0o755, Dir: true},
		{Path: "home/app", Mode: 0o755, UID: 1000, GID: 1000, Dir: true},
		{Path: "proc", Mode: 0o555, Dir: true},
		{Path: "root", Mode: 0o700, Dir: true},
		{Path: "run", Mode: 0o755, Dir: true},
		{Path: "sbin", Mode: 0o777, Link: "bin"},
		{Path: "sys", Mode: 0o555, Dir: true},
		{Path: "tmp", Mode: 0o1777, Dir: true},
		{Path: "usr", Mode: 0o755, Dir: true},
		{Path: "usr/bin", Mode: 0o777, Link: "../bin"},
		{Path: "usr/sbin", Mode: 0o777, Link: "../bin"},
		{Path: "var", Mode: 0o755, Dir: true},
		{Path: "var/tmp", Mode: 0o1777, Dir: true},
	}
	for _, applet := range strings.Fields(string(applets)) {
		if applet != "busybox" && !strings.Contains(applet, "/") {
			files = append(files, File{Path: "bin/" + applet, Mode: 0o777, Link: "busybox"})
		}
	}
	return files, nil
}

// errNoBusybox names the remedy.
var errNoBusybox = errors.New("install the Debian or Ubuntu package busybox-static (apt-get install busybox-static), or name another static busybox")

// readStatic reads an executable that needs no dynamic linker.
func readStatic(path string) ([]byte, error) {
	program, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("static busybox: %w: %w", err, errNoBusybox)
	}
	f, err := elf.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%s is no executable of this kind of machine: %w: %w", path, err, errNoBusybox)
	}
	defer f.Close()
	if slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
		return nil, fmt.Errorf("%s is dynamically linked and would not run in a container: %w", path, errNoBusybox)
	}
	return program, nil
}

// withParents adds the directories that files need and that are not among them, and sorts all by path.
func withParents(files []File) []File {
	have := map[string]bool{}
	for _, f := range files {
		have[f.Path] = true
	}
	all := slices.Clone(files)
	for _, f := range files {
		for dir := path.Dir(f.Path); dir != "." && dir != "/" && !have[dir]; dir = path.Dir(dir) {
			have[dir] = true
			all = append(all, File{Path: dir, Mode: 0o755, Dir: true})
		}
	}
	slices.SortStableFunc(all, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return all
}
