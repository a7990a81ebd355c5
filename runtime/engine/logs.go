// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"io"
	"log/slog"
	"sort"
	"sync/atomic"

	ctdlog "github.com/containerd/log"
	"github.com/sirupsen/logrus"
)

// RouteLogs sends what containerd logs (in this process, through logrus) to log
// and nowhere else. containerd's own severities are too loud for the people who
// read an agent's log, since whatever matters also reaches the caller as an
// error: its errors become warnings, and the rest is shown when debugging. The logger of containerd is one for the process, and
// so is the effect.
//
// The returned function makes errors count as the rest: an engine that stops
// calls it, for then whatever was going on in the background fails, as it must.
func RouteLogs(log *slog.Logger) (demote func()) {
	if log == nil {
		log = slog.Default()
	}
	logger := ctdlog.L.Logger
	logger.SetOutput(io.Discard)
	logger.SetFormatter(noFormat{})
	logger.ReplaceHooks(make(logrus.LevelHooks))
	hook := &slogHook{log: log.With("component", "containerd")}
	logger.AddHook(hook)
	// Shims are told the level: at "debug" each of them would log every call.
	logger.SetLevel(logrus.ErrorLevel)
	if log.Enabled(context.Background(), slog.LevelDebug) {
		logger.SetLevel(logrus.InfoLevel)
	}
	return func() { hook.demoted.Store(true) }
}

// noFormat renders nothing: the hook has done the work.
type noFormat struct{}

func (noFormat) Format(*logrus.Entry) ([]byte, error) { return nil, nil }

// slogHook passes entries on to log.
type slogHook struct {
	log     *slog.Logger
	demoted atomic.Bool
}

func (*slogHook) Levels() []logrus.Level { return logrus.AllLevels }

func (h *slogHook) Fire(e *logrus.Entry) error {
	ctx := e.Context
	if ctx == nil {
		ctx = context.Background()
	}
	level := slogLevel(e.Level)
	if h.demoted.Load() && level < slog.LevelError {
		level = slog.LevelDebug
	}
	if !h.log.Enabled(ctx, level) {
		return nil
	}
	keys := make([]string, 0, len(e.Data))
	for k := range e.Data {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	attrs := make([]slog.Attr, 0, len(keys))
	for _, k := range keys {
		attrs = append(attrs, slog.Any(k, e.Data[k]))
	}
	h.log.LogAttrs(ctx, level, e.Message, attrs...)
	return nil
}

func slogLevel(l logrus.Level) slog.Level {
	switch l {
	case logrus.PanicLevel, logrus.FatalLevel:
		return slog.LevelError
	case logrus.ErrorLevel:
		return slog.LevelWarn
	}
	return slog.LevelDebug
}
