// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	ctdlog "github.com/containerd/log"
)

func TestRouteLogs(t *testing.T) {
	t.Cleanup(func() { RouteLogs(nil) })
	var out bytes.Buffer
	log := func(level slog.Level) {
		out.Reset()
		demote := RouteLogs(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: level})))
		for _, l := range []*ctdlog.Entry{ctdlog.L, ctdlog.G(context.Background())} {
			l.Info("loading")
			l.WithError(errors.New("gone")).WithField("id", "x").Warn("hm")
			l.Error("bad")
		}
		demote()
		ctdlog.L.Error("while stopping")
	}
	log(slog.LevelInfo)
	if got := out.String(); strings.Count(got, "\n") != 2 || strings.Count(got, `level=WARN msg=bad`) != 2 {
		t.Errorf("at info:\n%s", got)
	}
	log(slog.LevelDebug)
	if got := out.String(); strings.Count(got, `level=DEBUG msg=loading`) != 2 ||
		strings.Count(got, `level=DEBUG msg=hm component=containerd error=gone id=x`) != 2 ||
		strings.Count(got, `level=DEBUG msg="while stopping"`) != 1 {
		t.Errorf("at debug:\n%s", got)
	}
}
