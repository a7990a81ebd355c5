// SPDX-License-Identifier: Apache-2.0

package logind

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/godbus/dbus/v5/prop"
)

// patience bounds hanging tests.
const patience = time.Minute

// privateBus starts a dbus-daemon of the test's own.
func privateBus(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("dbus-daemon")
	if err != nil {
		t.Skip("needs dbus-daemon (Debian package dbus-daemon)")
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "bus.conf")
	if err := os.WriteFile(config, []byte(`<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path=`+filepath.Join(dir, "bus")+`</listen>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>`), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "--config-file="+config, "--nofork", "--print-address")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(address)
}

// login1 is a logind with no machine behind it. Each lock is the read end of a pipe
// in its hands and the write end in its client's: it sees the release.
type login1 struct {
	t       *testing.T
	conn    *dbus.Conn
	mu      sync.Mutex
	held    []*os.File
	asks    chan []string
	dropIns string // where it reads its settings at SIGHUP
	props   *prop.Properties
}

func newLogin1(t *testing.T, address string, delay time.Duration) *login1 {
	t.Helper()
	conn, err := dbus.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	l := &login1{t: t, conn: conn, asks: make(chan []string, 8), dropIns: filepath.Join(t.TempDir(), "logind.conf.d")}
	t.Cleanup(func() {
		_ = conn.Close()
		for _, f := range l.held {
			_ = f.Close()
		}
	})
	if err := conn.Export(l, object, manager); err != nil {
		t.Fatal(err)
	}
	if l.props, err = prop.Export(conn, object, prop.Map{manager: {"InhibitDelayMaxUSec": {Value: uint64(delay / time.Microsecond)}}}); err != nil {
		t.Fatal(err)
	}
	if err := conn.Export(systemd1{l}, systemdObject, systemdManager); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{service, systemdService} {
		if reply, err := conn.RequestName(name, dbus.NameFlagDoNotQueue); err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
			t.Fatal(reply, err)
		}
	}
	return l
}

// systemd1 is logind's parent.
type systemd1 struct{ l *login1 }

// KillUnit is systemd's method. At SIGHUP logind reads the last of its files, some time
// after the call was answered.
func (s systemd1) KillUnit(unit, who string, signal int32) *dbus.Error {
	if unit != logindUnit || who != "main" || signal != int32(syscall.SIGHUP) {
		return dbus.MakeFailedError(fmt.Errorf("kill %s %s %d", unit, who, signal))
	}
	files, err := filepath.Glob(filepath.Join(s.l.dropIns, "*.conf"))
	if err != nil || len(files) == 0 {
		return dbus.MakeFailedError(fmt.Errorf("no settings: %w", err))
	}
	text, err := os.ReadFile(files[len(files)-1])
	if err != nil {
		return dbus.MakeFailedError(err)
	}
	_, value, _ := strings.Cut(string(text), "[Login]\nInhibitDelayMaxSec=")
	seconds, err := strconv.ParseUint(strings.TrimSpace(value), 10, 64)
	if err != nil {
		return dbus.MakeFailedError(err)
	}
	time.AfterFunc(10*time.Millisecond, func() { s.l.props.SetMust(manager, "InhibitDelayMaxUSec", seconds*1e6) })
	return nil
}

// Inhibit is logind's method.
func (l *login1) Inhibit(what, who, why, mode string) (dbus.UnixFD, *dbus.Error) {
	r, w, err := os.Pipe()
	if err != nil {
		return 0, dbus.MakeFailedError(err)
	}
	l.mu.Lock()
	l.held = append(l.held, r)
	l.mu.Unlock()
	fd := dbus.UnixFD(w.Fd())
	time.AfterFunc(time.Second, func() { _ = w.Close() }) // the message has a copy by then
	l.asks <- []string{what, who, why, mode}
	return fd, nil
}

func (l *login1) asked() []string {
	l.t.Helper()
	select {
	case a := <-l.asks:
		return a
	case <-time.After(patience):
		l.t.Fatal("nobody takes the lock")
		return nil
	}
}

// released waits until the client has closed its n-th lock.
func (l *login1) released(n int) {
	l.t.Helper()
	l.mu.Lock()
	r := l.held[n]
	l.mu.Unlock()
	_ = r.SetReadDeadline(time.Now().Add(patience))
	if _, err := r.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		l.t.Fatalf("lock %d is not released: %v", n, err)
	}
}

func (l *login1) prepareForShutdown(starting bool) {
	l.t.Helper()
	if err := l.conn.Emit(object, manager+".PrepareForShutdown", starting); err != nil {
		l.t.Fatal(err)
	}
}

func within(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatal("waited in vain: " + what)
	}
}

func TestAShutdownWaitsForPrepare(t *testing.T) {
	address := privateBus(t)
	l := newLogin1(t, address, 30*time.Second)
	began, finish, called := make(chan struct{}, 1), make(chan struct{}), make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- Follow(ctx, Config{
			Address: address, Need: 30 * time.Second, DropIns: l.dropIns,
			Prepare:   func(context.Context) { began <- struct{}{}; <-finish },
			CalledOff: func() { called <- struct{}{} },
			Log:       slog.New(slog.DiscardHandler),
		})
	}()
	if a := l.asked(); a[0] != "shutdown" || a[1] != "minikubelet" || a[3] != "delay" {
		t.Errorf("asked for %q", a)
	}
	l.prepareForShutdown(true)
	within(t, "Prepare is called", began)
	_ = l.held[0].SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if _, err := l.held[0].Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the lock is released before Prepare is done: %v", err)
	}
	close(finish)
	l.released(0)
	l.prepareForShutdown(false)
	within(t, "CalledOff is called", called)
	l.asked()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	l.released(1)
	if _, err := os.Stat(l.dropIns); err == nil {
		t.Error("logind was told to wait as long as it did before")
	}
}

// TestOnlyLogindTellsOfShutdowns has another client of the bus, which lets it, send what
// logind sends, before logind does.
func TestOnlyLogindTellsOfShutdowns(t *testing.T) {
	address := privateBus(t)
	l := newLogin1(t, address, 30*time.Second)
	other, err := dbus.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	told := make(chan string, 2)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- Follow(ctx, Config{
			Address: address, DropIns: l.dropIns, Log: slog.New(slog.DiscardHandler),
			Prepare:   func(context.Context) { told <- "a shutdown" },
			CalledOff: func() { told <- "a shutdown that is called off" },
		})
	}()
	l.asked()
	if err := other.Emit(object, manager+".PrepareForShutdown", true); err != nil {
		t.Fatal(err)
	}
	if err := other.BusObject().Call("org.freedesktop.DBus.GetId", 0).Err; err != nil { // the signal is through then
		t.Fatal(err)
	}
	l.prepareForShutdown(false)
	if first := <-told; first != "a shutdown that is called off" {
		t.Error("told by another client of", first)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// follow holds the lock until the test's end, and returns what was logged before it was
// taken.
func follow(t *testing.T, l *login1, cfg Config) string {
	t.Helper()
	var log bytes.Buffer
	cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Follow(ctx, cfg) }()
	l.asked()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	return log.String()
}

func TestLogindIsToldToWait(t *testing.T) {
	address := privateBus(t)
	l := newLogin1(t, address, 5*time.Second)
	log := follow(t, l, Config{Address: address, Need: 30*time.Second + time.Millisecond, DropIns: l.dropIns})
	if got := l.props.GetMust(manager, "InhibitDelayMaxUSec"); got != uint64(31e6) {
		t.Errorf("it waits %v µs", got)
	}
	if strings.Contains(log, "level=WARN") {
		t.Errorf("logged:\n%s", log)
	}
}

// TestLogindThatDoesNotWaitIsTold: another file of the node's owner, or one that cannot
// be written, leaves logind as it was; the lock is taken all the same.
func TestLogindThatDoesNotWaitIsTold(t *testing.T) {
	for name, spoil := range map[string]func(dir string) error{
		"another file counts": func(dir string) error {
			return errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(filepath.Join(dir, "zz.conf"), []byte("[Login]\nInhibitDelayMaxSec=7\n"), 0o600))
		},
		"it cannot be written": func(dir string) error { return os.WriteFile(dir, nil, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			address := privateBus(t)
			l := newLogin1(t, address, 5*time.Second)
			if err := spoil(l.dropIns); err != nil {
				t.Fatal(err)
			}
			log := follow(t, l, Config{Address: address, Need: 30 * time.Second, DropIns: l.dropIns})
			for _, want := range []string{"level=WARN", "InhibitDelayMaxSec", "systemctl kill -s HUP systemd-logind", "needed=30s"} {
				if !strings.Contains(log, want) {
					t.Errorf("no %q in:\n%s", want, log)
				}
			}
		})
	}
}

func TestNoLogindIsSaidAtOnce(t *testing.T) {
	for name, address := range map[string]string{"no bus": "unix:path=/nonexistent", "a bus without logind": privateBus(t)} {
		err := Follow(context.Background(), Config{Address: address, Log: slog.New(slog.DiscardHandler)})
		if !errors.Is(err, ErrNone) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
