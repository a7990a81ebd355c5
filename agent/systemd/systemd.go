// SPDX-License-Identifier: Apache-2.0

// Package systemd tells systemd how its service is (sd_notify(3)), and asks it
// whether the machine goes down. Without systemd it does nothing. It imports nothing
// of ours.
package systemd

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"time"
)

// Unit is the service whose main process this one is. Nil: it is none, and nobody is
// told anything.
type Unit struct {
	socket string
}

// answerBound is how long systemd may take to answer.
const answerBound = 10 * time.Second

// socketVariable is where systemd listens, in the environment of the unit's processes.
const socketVariable = "NOTIFY_SOCKET"

// FromEnvironment is the unit, if there is one that wants to be told. What systemd
// said is taken out of the environment, so that no child takes it for its own.
func FromEnvironment() *Unit {
	socket := os.Getenv(socketVariable)
	os.Unsetenv(socketVariable)
	if socket == "" {
		return nil
	}
	return &Unit{socket}
}

// Ready says that the service serves.
func (u *Unit) Ready() error { return u.notify("READY=1") }

// Stopping says that the service ends, and that it may take so long from now on,
// whatever TimeoutStopSec= says.
func (u *Unit) Stopping(atMost time.Duration) error {
	return u.notify(fmt.Sprintf("STOPPING=1\nEXTEND_TIMEOUT_USEC=%d", atMost.Microseconds()))
}

func (u *Unit) notify(state string) error {
	if u == nil {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Net: "unixgram", Name: u.socket}) // @ is an abstract one's first byte
	if err != nil {
		return fmt.Errorf("tell systemd %q: %w", state, err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(state)); err != nil {
		return fmt.Errorf("tell systemd %q: %w", state, err)
	}
	return nil
}

// GoingDown says whether systemd is about to power off, reboot or halt the machine.
// systemctl is asked, for it reaches systemd also when D-Bus has ended already. No
// answer is no.
func GoingDown(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, answerBound)
	defer cancel()
	// The exit status is not 0 unless all is well: only the word counts.
	state, _ := exec.CommandContext(ctx, "systemctl", "is-system-running").Output()
	return string(bytes.TrimSpace(state)) == "stopping"
}
