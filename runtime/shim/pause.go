// SPDX-License-Identifier: Apache-2.0

package shim

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/minikubelet/minikubelet/runtime/pause"
)

// createPause runs the process of a bundle whose specification says that it is
// a pause process; false for all others. Such a process needs a fraction of what
// runc sets up.
func (d *direct) createPause(c command) (bool, error) {
	bundle, pidFile := after(c.args, "--bundle"), after(c.args, "--pid-file")
	if bundle == "" || pidFile == "" {
		return false, nil
	}
	data, err := os.ReadFile(filepath.Join(bundle, "config.json"))
	if err != nil {
		return false, nil // runc tells what is wrong
	}
	// Most are containers with long filters, and decoding takes a while.
	if !bytes.Contains(data, []byte(pause.AnnotationCgroups)) {
		return false, nil
	}
	var spec specs.Spec
	if err := json.Unmarshal(data, &spec); err != nil || pause.Cgroups(&spec) == nil {
		return false, nil
	}
	pid, fd, err := pause.Start(&spec)
	if err != nil {
		return true, err
	}
	if err := os.WriteFile(pidFile, []byte(strconv.Itoa(pid)), 0o600); err != nil {
		return true, errors.Join(err, unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0), unix.Close(fd))
	}
	d.add(c.id, child{pid: pid, fd: fd, alone: true, pause: true})
	return true, nil
}
