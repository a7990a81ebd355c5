// SPDX-License-Identifier: Apache-2.0

// Package logind keeps the machine from going down before the node's Pods have
// ended: it holds a delay inhibitor lock of systemd-logind and hears of a shutdown
// over D-Bus (https://systemd.io/INHIBITOR_LOCKS). It knows nothing of Pods and
// imports nothing of ours.
package logind

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

const (
	service = "org.freedesktop.login1"
	object  = dbus.ObjectPath("/org/freedesktop/login1")
	manager = "org.freedesktop.login1.Manager"
	// reconnect is how long to wait after the bus was lost.
	reconnect = time.Second
)

// systemd's own interface, and logind's unit.
const (
	systemdService = "org.freedesktop.systemd1"
	systemdObject  = dbus.ObjectPath("/org/freedesktop/systemd1")
	systemdManager = "org.freedesktop.systemd1.Manager"
	logindUnit     = "systemd-logind.service"
)

// Config says what to do before the machine goes down.
type Config struct {
	// Address of the bus; empty: the system's.
	Address string
	// Need is how long Prepare may take. When logind grants less, it is told to grant
	// that, in a file of DropIns.
	Need time.Duration
	// DropIns is the directory of logind's settings; empty: the machine's.
	DropIns string
	// Prepare is called when the machine is about to go down, which waits until it
	// returns, for as long as logind grants. Its context ends with Follow's.
	Prepare func(ctx context.Context)
	// CalledOff is called when the machine stays up after all.
	CalledOff func()
	Log       *slog.Logger
}

// ErrNone says that there is no logind on this machine.
var ErrNone = errors.New("no systemd-logind on D-Bus")

// Follow holds the lock and waits for shutdowns until ctx ends. It returns ErrNone
// if logind cannot be reached at first; later it tries again.
func Follow(ctx context.Context, cfg Config) error {
	first := true
	for ctx.Err() == nil {
		err := cfg.follow(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if first && errors.Is(err, ErrNone) {
			return err
		}
		cfg.Log.Warn("lost systemd-logind; trying again", "err", err)
		first = false
		select {
		case <-time.After(reconnect):
		case <-ctx.Done():
		}
	}
	return nil
}

// follow serves one connection until it breaks.
func (c *Config) follow(ctx context.Context) error {
	conn, err := c.connect(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNone, err)
	}
	defer conn.Close()
	if err := conn.AddMatchSignal(dbus.WithMatchInterface(manager), dbus.WithMatchMember("PrepareForShutdown"), dbus.WithMatchObjectPath(object)); err != nil {
		return fmt.Errorf("listen for shutdowns: %w", err)
	}
	signals := make(chan *dbus.Signal, 4)
	conn.Signal(signals)
	if err := c.ensureDelay(ctx, conn); err != nil {
		return fmt.Errorf("%w: %w", ErrNone, err)
	}
	lock, err := inhibit(ctx, conn)
	if err != nil {
		return err
	}
	c.Log.Info("the machine waits for the Pods when it shuts down", "at most", c.Need)
	defer func() { release(lock) }()
	for {
		select {
		case <-ctx.Done():
			return nil
		case s, open := <-signals:
			if !open {
				return errors.New("the bus closed the connection")
			}
			starting, ok := argument(s)
			if !ok {
				continue
			}
			switch own, err := isLogind(ctx, conn, s.Sender); {
			case err != nil:
				return err
			case !own:
				c.Log.Warn("told of a shutdown by somebody who is not systemd-logind; nothing is done", "sender", s.Sender)
				continue
			}
			if starting {
				c.Log.Info("the machine is shutting down")
				c.Prepare(ctx)
				release(lock)
				lock = nil
			} else {
				c.Log.Info("the shutdown was called off")
				c.CalledOff()
				release(lock)
				if lock, err = inhibit(ctx, conn); err != nil {
					return err
				}
			}
		}
	}
}

func (c *Config) connect(ctx context.Context) (*dbus.Conn, error) {
	if c.Address == "" {
		return dbus.ConnectSystemBus(dbus.WithContext(ctx))
	}
	return dbus.Connect(c.Address, dbus.WithContext(ctx))
}

// dropIn is our file among logind's settings. Agents on one machine share it: who
// needs the most has it.
const (
	dropIns = "/etc/systemd/logind.conf.d"
	dropIn  = "99-minikubelet.conf"
)

// ensureDelay has logind wait as long as is needed. Where that cannot be had, the log
// says so, and what to do.
func (c *Config) ensureDelay(ctx context.Context, conn *dbus.Conn) error {
	granted, err := delay(ctx, conn)
	if err != nil || granted >= c.Need {
		return err
	}
	if err = c.raiseDelay(ctx, conn); err == nil {
		c.Log.Info("systemd-logind waits longer for the machine's shutdown now", "waits", c.Need, "before", granted, "file", c.dropIn())
		return nil
	}
	c.Log.Warn("systemd-logind does not wait long enough for the Pods when the machine shuts down; set InhibitDelayMaxSec in "+
		"/etc/systemd/logind.conf.d, and have it read again with: systemctl kill -s HUP systemd-logind", "waits", granted, "needed", c.Need, "err", err)
	return nil
}

func (c *Config) dropIn() string { return filepath.Join(cmp.Or(c.DropIns, dropIns), dropIn) }

// raiseDelay writes the setting and waits until logind has taken it over. logind reads
// its settings again at SIGHUP, which systemd sends.
func (c *Config) raiseDelay(ctx context.Context, conn *dbus.Conn) error {
	if err := os.MkdirAll(filepath.Dir(c.dropIn()), 0o755); err != nil {
		return err
	}
	seconds := int64((c.Need + time.Second - 1) / time.Second)
	text := fmt.Sprintf("# Written by minikubelet: its Pods have this long to end when the machine shuts down.\n[Login]\nInhibitDelayMaxSec=%d\n", seconds)
	if err := os.WriteFile(c.dropIn(), []byte(text), 0o644); err != nil {
		return err
	}
	if err := conn.Object(systemdService, systemdObject).CallWithContext(ctx, systemdManager+".KillUnit", 0, logindUnit, "main", int32(unix.SIGHUP)).Err; err != nil {
		return fmt.Errorf("have systemd-logind read %s: %w", c.dropIn(), err)
	}
	var granted time.Duration
	for pause := 50 * time.Millisecond; pause < 2*time.Second; pause *= 2 {
		var err error
		if granted, err = delay(ctx, conn); err != nil || granted >= c.Need {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return fmt.Errorf("systemd-logind stays with %s; a file that sorts after %s may set InhibitDelayMaxSec", granted, c.dropIn())
}

// delay is how long logind waits for locks.
func delay(ctx context.Context, conn *dbus.Conn) (time.Duration, error) {
	var v dbus.Variant
	call := conn.Object(service, object).CallWithContext(ctx, "org.freedesktop.DBus.Properties.Get", 0, manager, "InhibitDelayMaxUSec")
	if err := call.Store(&v); err != nil {
		return 0, fmt.Errorf("read InhibitDelayMaxUSec: %w", err)
	}
	us, ok := v.Value().(uint64)
	if !ok {
		return 0, fmt.Errorf("InhibitDelayMaxUSec is %v, not a number of microseconds", v)
	}
	return time.Duration(us) * time.Microsecond, nil
}

// inhibit takes the lock: it is held as long as the file is open.
func inhibit(ctx context.Context, conn *dbus.Conn) (*os.File, error) {
	var fd dbus.UnixFD
	call := conn.Object(service, object).CallWithContext(ctx, manager+".Inhibit", 0, "shutdown", "minikubelet", "Pods are to end in order", "delay")
	if err := call.Store(&fd); err != nil {
		return nil, fmt.Errorf("take the inhibitor lock: %w", err)
	}
	return os.NewFile(uintptr(fd), "inhibitor lock"), nil
}

func release(lock *os.File) {
	if lock != nil {
		_ = lock.Close() // nothing was written
	}
}

// isLogind says whether a signal's sender, a name that the bus gives, is logind: the bus
// lets everybody send signals, whatever interface they name.
func isLogind(ctx context.Context, conn *dbus.Conn, sender string) (bool, error) {
	var owner string
	if err := conn.BusObject().CallWithContext(ctx, "org.freedesktop.DBus.GetNameOwner", 0, service).Store(&owner); err != nil {
		return false, fmt.Errorf("find the owner of %s: %w", service, err)
	}
	return owner == sender, nil
}

// argument of a PrepareForShutdown signal: whether the shutdown begins.
func argument(s *dbus.Signal) (starting, ok bool) {
	if s == nil || s.Name != manager+".PrepareForShutdown" || len(s.Body) != 1 {
		return false, false
	}
	starting, ok = s.Body[0].(bool)
	return starting, ok
}
