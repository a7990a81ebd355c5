// SPDX-License-Identifier: Apache-2.0

// Package logind keeps the machine from going down before the node's Pods have
// ended: it holds a delay inhibitor lock of systemd-logind and hears of a shutdown
// over D-Bus (https://systemd.io/INHIBITOR_LOCKS). It knows nothing of Pods and
// imports nothing of ours.
package logind

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/godbus/dbus/v5"
)

const (
	service = "org.freedesktop.login1"
	object  = dbus.ObjectPath("/org/freedesktop/login1")
	manager = "org.freedesktop.login1.Manager"
	// reconnect is how long to wait after the bus was lost.
	reconnect = time.Second
)

// Config says what to do before the machine goes down.
type Config struct {
	// Address of the bus; empty: the system's.
	Address string
	// Need is how long Prepare may take. That logind grants less is logged.
	Need time.Duration
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
	if err := c.checkDelay(conn); err != nil {
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
			switch {
			case !ok:
			case starting:
				c.Log.Info("the machine is shutting down")
				c.Prepare(ctx)
				release(lock)
				lock = nil
			default:
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

// checkDelay says what to do when logind will not wait long enough.
func (c *Config) checkDelay(conn *dbus.Conn) error {
	v, err := conn.Object(service, object).GetProperty(manager + ".InhibitDelayMaxUSec")
	if err != nil {
		return fmt.Errorf("read InhibitDelayMaxUSec: %w", err)
	}
	us, ok := v.Value().(uint64)
	if !ok {
		return fmt.Errorf("InhibitDelayMaxUSec is %v, not a number of microseconds", v)
	}
	if granted := time.Duration(us) * time.Microsecond; granted < c.Need {
		c.Log.Warn("systemd-logind does not wait long enough for the Pods when the machine shuts down; set InhibitDelayMaxSec in /etc/systemd/logind.conf.d and reload systemd-logind",
			"waits", granted, "needed", c.Need)
	}
	return nil
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

// argument of a PrepareForShutdown signal: whether the shutdown begins.
func argument(s *dbus.Signal) (starting, ok bool) {
	if s == nil || s.Name != manager+".PrepareForShutdown" || len(s.Body) != 1 {
		return false, false
	}
	starting, ok = s.Body[0].(bool)
	return starting, ok
}
