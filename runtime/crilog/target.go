// SPDX-License-Identifier: Apache-2.0

package crilog

import (
	"fmt"
	"net/url"
	"path/filepath"
	"strconv"
)

// Scheme is the scheme of a Target's URI.
const Scheme = "cri"

// The kubelet's defaults: containerLogMaxSize and containerLogMaxFiles.
const (
	DefaultMaxBytes = 10 << 20
	DefaultMaxFiles = 5
)

// Target says where a container's output goes. Its URI is what the shim takes
// as the standard output and error of a new task:
//
//	cri:///var/log/pods/ns_pod_uid/app/0.log?files=5&max=10485760
type Target struct {
	// Path is the absolute path of the current log file.
	Path string
	// MaxBytes is the size at which a file is rotated; 0 means DefaultMaxBytes.
	MaxBytes int64
	// MaxFiles is the number of files kept, the current one included, at least 2
	// as in the kubelet; 0 means DefaultMaxFiles.
	MaxFiles int
	// Attach is the absolute path of the unix socket through which clients attach to
	// the container, and Stdin gives it a standard input. They are for the shim.
	Attach string
	Stdin  bool
}

// URI returns the target as ParseTarget reads it, defaults filled in.
func (t Target) URI() *url.URL {
	t = t.withDefaults()
	query := url.Values{
		"max":   {strconv.FormatInt(t.MaxBytes, 10)},
		"files": {strconv.Itoa(t.MaxFiles)},
	}
	if t.Attach != "" {
		query.Set("attach", t.Attach)
	}
	if t.Stdin {
		query.Set("stdin", "true")
	}
	return &url.URL{Scheme: Scheme, Path: t.Path, RawQuery: query.Encode()}
}

// ParseTarget reads a target's URI. Keys that it does not know are errors, so
// that an older shim refuses what it cannot do.
func ParseTarget(uri string) (Target, error) {
	u, err := url.Parse(uri)
	if err != nil {
		return Target{}, fmt.Errorf("log URI: %w", err)
	}
	if u.Scheme != Scheme || u.Host != "" || u.Opaque != "" || u.User != nil || u.Fragment != "" {
		return Target{}, fmt.Errorf("log URI %q: want %s:///absolute/path?max=BYTES&files=N", uri, Scheme)
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return Target{}, fmt.Errorf("log URI %q: %w", uri, err)
	}
	t := Target{Path: u.Path}
	for key, values := range query {
		if len(values) != 1 {
			return Target{}, fmt.Errorf("log URI %q: %s is given %d times", uri, key, len(values))
		}
		switch key {
		case "max":
			t.MaxBytes, err = strconv.ParseInt(values[0], 10, 64)
		case "files":
			t.MaxFiles, err = strconv.Atoi(values[0])
		case "attach":
			t.Attach = values[0]
		case "stdin":
			t.Stdin, err = strconv.ParseBool(values[0])
		default:
			return Target{}, fmt.Errorf("log URI %q: unknown key %q (known: max, files, attach, stdin)", uri, key)
		}
		if err != nil {
			return Target{}, fmt.Errorf("log URI %q: %s: %w", uri, key, err)
		}
	}
	t = t.withDefaults()
	if err := t.validate(); err != nil {
		return Target{}, fmt.Errorf("log URI %q: %w", uri, err)
	}
	return t, nil
}

func (t Target) withDefaults() Target {
	if t.MaxBytes == 0 {
		t.MaxBytes = DefaultMaxBytes
	}
	if t.MaxFiles == 0 {
		t.MaxFiles = DefaultMaxFiles
	}
	return t
}

func (t Target) validate() error {
	switch {
	case !filepath.IsAbs(t.Path) || filepath.Clean(t.Path) != t.Path || t.Path == "/":
		return fmt.Errorf("path %q: must be the clean absolute path of a file", t.Path)
	case t.Attach != "" && !filepath.IsAbs(t.Attach):
		return fmt.Errorf("attach %q: must be an absolute path", t.Attach)
	case t.MaxBytes < 0:
		return fmt.Errorf("max %d: must be positive", t.MaxBytes)
	case t.MaxFiles < 2:
		return fmt.Errorf("files %d: must be at least 2, one to write and one that was rotated", t.MaxFiles)
	}
	return nil
}
