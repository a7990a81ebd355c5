// SPDX-License-Identifier: Apache-2.0

// Package pause has the program that holds a Pod's sandbox, and starts it.
//
// The program is machine code of a few hundred bytes, so that no image is needed for a Pod's sandbox. Install puts it into a
// directory that is the root of every pause process; Start runs it there. It imports nothing of ours.
//
// Invariant: a pause process has no capability and cannot gain one.
package pause

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// Program is the path of the program in the root that Install makes.
const Program = "/pause"

// mountpoints are what an OCI runtime wants to find in a root that it cannot write to.
var mountpoints = []string{"proc", "dev", "sys"}

// Install makes dir the root of pause processes: the program and empty directories. What an earlier agent installed is left as it is
// while it is the same. Pause is an error where the program has no variant for the machine's architecture.
func Install(dir string) error {
	code, err := program(runtime.GOARCH)
	if err != nil {
		return err
	}
	for _, name := range append([]string{"."}, mountpoints...) {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			return fmt.Errorf("root of pause: %w", err)
		}
	}
	path := filepath.Join(dir, Program)
	have, err := os.ReadFile(path)
	if err == nil && bytes.Equal(have, code) {
		return os.Chmod(path, 0o755)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("pause: %w", err)
	}
	// A process may run the file that is there: it is replaced, not written to. It needs no sync: it is compared at each start.
	if err := os.WriteFile(path+".new", code, 0o755); err != nil {
		return fmt.Errorf("pause: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("pause: %w", err)
	}
	return nil
}
