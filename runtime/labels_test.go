// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"maps"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/containerd/containerd/v2/core/containers"
	"pgregory.net/rapid"
)

// TestLabelsKeepTheStatus: what is written on a record is read back the same.
func TestLabelsKeepTheStatus(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[a-z0-9./-]{0,12}`)
		started := time.Unix(0, rapid.Int64Range(1, 1<<60).Draw(t, "started")).UTC()
		want := Status{
			ID: "id", Pod: Pod{Namespace: text.Draw(t, "namespace"), Name: text.Draw(t, "pod"), UID: text.Draw(t, "uid")},
			Kind: rapid.SampledFrom([]Kind{KindSandbox, KindInit, KindApp, KindEphemeral}).Draw(t, "kind"), Name: text.Draw(t, "name"),
			Attempt: rapid.IntRange(0, 1<<30).Draw(t, "attempt"), SandboxID: text.Draw(t, "sandbox"), Image: text.Draw(t, "image"),
			ImageID: text.Draw(t, "imageID"), StopSignal: text.Draw(t, "signal"), CgroupsPath: text.Draw(t, "cgroup"),
			State: StateExited, StartedAt: started, FinishedAt: started.Add(time.Duration(rapid.Int64Range(0, 1<<50).Draw(t, "ran"))),
			ExitCode: rapid.Int32Range(0, 255).Draw(t, "code"), OOMKilled: rapid.Bool().Draw(t, "oom"), Message: text.Draw(t, "message"),
		}
		labels := identityLabels(want)
		got, err := statusOf(containers.Container{ID: "id", Labels: maps.Clone(labels), Image: want.Image, SandboxID: want.SandboxID})
		if err != nil || got.State != StateUnknown || !got.FinishedAt.IsZero() {
			t.Fatalf("before the exit: %+v, error %v", got, err)
		}
		maps.Copy(labels, exitLabels(want))
		got, err = statusOf(containers.Container{ID: "id", Labels: labels, Image: want.Image, SandboxID: want.SandboxID})
		if err != nil {
			t.Fatal(err)
		}
		got.Labels = nil
		if !statusEqual(got, want) {
			t.Fatalf("got  %+v\nwant %+v", got, want)
		}
	})
}

func statusEqual(a, b Status) bool {
	return a.ID == b.ID && a.Pod == b.Pod && a.Kind == b.Kind && a.Name == b.Name && a.Attempt == b.Attempt && a.SandboxID == b.SandboxID &&
		a.Image == b.Image && a.ImageID == b.ImageID && a.StopSignal == b.StopSignal && a.CgroupsPath == b.CgroupsPath && a.State == b.State &&
		a.StartedAt.Equal(b.StartedAt) && a.FinishedAt.Equal(b.FinishedAt) && a.ExitCode == b.ExitCode && a.OOMKilled == b.OOMKilled && a.Message == b.Message
}

func TestBrokenLabels(t *testing.T) {
	for name, labels := range map[string]map[string]string{
		"attempt":    {LabelAttempt: "x"},
		"no attempt": {},
		"started":    {LabelAttempt: "0", labelStartedAt: "yesterday"},
		"finished":   {LabelAttempt: "0", labelFinishedAt: "x", labelExitCode: "0"},
		"exit code":  {LabelAttempt: "0", labelFinishedAt: "2026-01-02T03:04:05Z", labelExitCode: ""},
	} {
		if s, err := statusOf(containers.Container{ID: "id", Labels: labels}); err == nil || s.State != StateUnknown {
			t.Errorf("%s: %+v, error %v", name, s, err)
		}
	}
}

func TestShorten(t *testing.T) {
	for _, message := range []string{"", "short", strings.Repeat("x", maxMessage), strings.Repeat("é", maxMessage), "x" + strings.Repeat("é", maxMessage)} {
		got := shorten(message)
		if !utf8.ValidString(got) || len(got) > maxMessage+len("…") || !strings.HasPrefix(message, strings.TrimSuffix(got, "…")) {
			t.Errorf("%d bytes became %d: %q…", len(message), len(got), got[:min(len(got), 20)])
		}
		if len(message) <= maxMessage && got != message {
			t.Errorf("%q was changed", message)
		}
	}
}

func TestStartTicks(t *testing.T) {
	for _, test := range []struct {
		stat string
		want int64
		ok   bool
	}{
		{"1 (init) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 1 2", 4711, true},
		{"1 (a) b) (c)) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4712", 4712, true},
		{"1 (init) S 0 1 1", 0, false},
		{"", 0, false},
		{"1 (init) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 x", 0, false},
	} {
		if got, ok := startTicks([]byte(test.stat)); got != test.want || ok != test.ok {
			t.Errorf("%q: %d, %v", test.stat, got, ok)
		}
	}
	if age := time.Since(processStart(os.Getpid())); age < 0 || age > time.Hour {
		t.Errorf("this process is %v old", age)
	}
	if at := processStart(1 << 30); !at.IsZero() {
		t.Errorf("a process that does not exist began at %v", at)
	}
}
