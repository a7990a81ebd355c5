// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/minikubelet/minikubelet/podmgr/plan"
	"github.com/minikubelet/minikubelet/podmgr/probe"
)

// bench is a prober whose probes are answered by the test, in false time.
type bench struct {
	*prober
	t     *testing.T
	began time.Time
	mu    sync.Mutex
	// answer by kind of probe and time since the beginning.
	answer func(kind string, at time.Duration) (probe.Outcome, error)
	calls  []string // kind and time
	told   []string
	woken  int
}

func probing(t *testing.T, test func(b *bench)) {
	synctest.Test(t, func(t *testing.T) {
		b := &bench{t: t, began: time.Now()}
		b.prober = newProber(b.probe, func(string) { b.mu.Lock(); b.woken++; b.mu.Unlock() })
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { b.serve(ctx); close(done) }()
		test(b)
		b.follow(ctx, "uid", nil)
		cancel()
		<-done
	})
}

func (b *bench) probe(_ context.Context, spec *corev1.Probe, _ probe.Target) (probe.Outcome, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	kind, at := spec.Exec.Command[0], time.Since(b.began)
	b.calls = append(b.calls, fmt.Sprintf("%s %s", kind, at))
	return b.answer(kind, at)
}

func probeSpec(kind string, edit func(p *corev1.Probe)) *corev1.Probe {
	p := &corev1.Probe{
		ProbeHandler:  corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{kind}}},
		PeriodSeconds: 2, TimeoutSeconds: 1, SuccessThreshold: 1, FailureThreshold: 2,
	}
	if edit != nil {
		edit(p)
	}
	return p
}

func (b *bench) subject(startup, readiness, liveness *corev1.Probe) *subject {
	return &subject{
		uid: "uid", id: "id", startedAt: time.Now(),
		container: &corev1.Container{StartupProbe: startup, ReadinessProbe: readiness, LivenessProbe: liveness},
		target:    func() probe.Target { return probe.Target{} },
		tell: func(_, reason, message string) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.told = append(b.told, reason+": "+message)
		},
	}
}

// after lets time pass to a moment between two probes.
func (b *bench) after(d time.Duration) plan.Probes {
	time.Sleep(d - time.Since(b.began) + 50*time.Millisecond)
	synctest.Wait()
	return b.results("uid", "id")
}

func (b *bench) list(l *[]string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(*l)
}

func (b *bench) expect(what string, got, want any) {
	b.t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		b.t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

var (
	good = probe.Outcome{Result: probe.Success}
	bad  = probe.Outcome{Result: probe.Failure, Output: "it broke"}
)

func TestReadinessByThresholds(t *testing.T) {
	probing(t, func(b *bench) {
		b.answer = func(_ string, at time.Duration) (probe.Outcome, error) {
			if at < 3*time.Second || at > 7*time.Second {
				return bad, nil
			}
			return good, nil
		}
		b.follow(b.t.Context(), "uid", []*subject{b.subject(nil, probeSpec("r", nil), nil)})
		b.expect("at first", b.after(1900*time.Millisecond).Readiness, "")
		b.expect("events of early looks", b.list(&b.told), "[]")
		b.expect("calls", b.list(&b.calls), "[r 100ms r 200ms r 400ms r 800ms r 1.6s]")
		b.expect("one failure", b.after(2*time.Second).Readiness, "")
		b.expect("a success", b.after(4*time.Second).Readiness, plan.ProbeSucceeded)
		b.expect("a failure after it", b.after(8*time.Second).Readiness, plan.ProbeSucceeded)
		b.expect("two failures", b.after(10*time.Second).Readiness, plan.ProbeFailed)
		b.mu.Lock()
		b.expect("woken", b.woken, 2)
		b.mu.Unlock()
		b.expect("events", b.list(&b.told), "[Unhealthy: Readiness probe failed: it broke Unhealthy: Readiness probe failed: it broke Unhealthy: Readiness probe failed: it broke]")
	})
}

func TestInitialDelayAndSuccessThreshold(t *testing.T) {
	probing(t, func(b *bench) {
		b.answer = func(string, time.Duration) (probe.Outcome, error) { return good, nil }
		r := probeSpec("r", func(p *corev1.Probe) { p.InitialDelaySeconds, p.SuccessThreshold = 5, 3 })
		b.follow(b.t.Context(), "uid", []*subject{b.subject(nil, r, nil)})
		b.expect("two successes", b.after(7*time.Second).Readiness, "")
		b.expect("calls", b.list(&b.calls), "[r 5s r 7s]")
		b.expect("three", b.after(9*time.Second).Readiness, plan.ProbeSucceeded)
	})
}

// TestLivenessFailsOnce: when the threshold is reached the container is not probed
// any more; it is being restarted.
func TestLivenessFailsOnce(t *testing.T) {
	probing(t, func(b *bench) {
		b.answer = func(_ string, at time.Duration) (probe.Outcome, error) {
			if at > 3*time.Second {
				return bad, nil
			}
			return good, nil
		}
		b.follow(b.t.Context(), "uid", []*subject{b.subject(nil, nil, probeSpec("l", nil))})
		b.expect("one failure", b.after(4*time.Second).Liveness, plan.ProbeSucceeded)
		b.expect("two", b.after(6*time.Second).Liveness, plan.ProbeFailed)
		b.expect("and no more", b.after(60*time.Second).Liveness, plan.ProbeFailed)
		b.expect("calls", b.list(&b.calls), "[l 2s l 4s l 6s]")
	})
}

// TestStartupHoldsUpTheOthers: and when it succeeded, it is not made again.
func TestStartupHoldsUpTheOthers(t *testing.T) {
	probing(t, func(b *bench) {
		b.answer = func(kind string, at time.Duration) (probe.Outcome, error) {
			if kind == "s" && at < 5*time.Second {
				return bad, nil
			}
			return good, nil
		}
		s := probeSpec("s", func(p *corev1.Probe) { p.FailureThreshold = 5 })
		b.follow(b.t.Context(), "uid", []*subject{b.subject(s, probeSpec("r", nil), probeSpec("l", nil))})
		b.expect("before", b.after(5*time.Second), plan.Probes{})
		b.expect("after", b.after(6*time.Second), plan.Probes{Startup: plan.ProbeSucceeded, Readiness: plan.ProbeSucceeded})
		b.after(8 * time.Second)
		calls := b.list(&b.calls)
		i := slices.Index(calls, "s 6s")
		if i < 0 || !slices.Contains(calls[i:], "r 6s") || slices.ContainsFunc(calls[i+1:], func(c string) bool { return strings.HasPrefix(c, "s") }) ||
			slices.ContainsFunc(calls[:i], func(c string) bool { return !strings.HasPrefix(c, "s") }) {
			b.t.Errorf("calls %v", b.list(&b.calls))
		}
	})
}

func TestErrorsAndWarnings(t *testing.T) {
	probing(t, func(b *bench) {
		b.answer = func(_ string, at time.Duration) (probe.Outcome, error) {
			if at < 3*time.Second {
				return probe.Outcome{}, errors.New("no such file")
			}
			return probe.Outcome{Result: probe.Warning, Output: "moved"}, nil
		}
		b.follow(b.t.Context(), "uid", []*subject{b.subject(nil, nil, probeSpec("l", func(p *corev1.Probe) { p.FailureThreshold = 1 }))})
		b.expect("an error is no result", b.after(2*time.Second).Liveness, "")
		b.expect("a warning is a success", b.after(4*time.Second).Liveness, plan.ProbeSucceeded)
		b.expect("events", b.list(&b.told), "[Unhealthy: Liveness probe errored and resulted in unknown state: no such file ProbeWarning: Liveness probe warning: moved]")
	})
}

// TestEnding: of a container that is being stopped only the readiness is asked.
func TestEnding(t *testing.T) {
	probing(t, func(b *bench) {
		b.answer = func(string, time.Duration) (probe.Outcome, error) { return bad, nil }
		s := b.subject(nil, probeSpec("r", func(p *corev1.Probe) { p.InitialDelaySeconds = 1 }), probeSpec("l", nil))
		s.ending = true
		b.follow(b.t.Context(), "uid", []*subject{s})
		b.expect("results", b.after(10*time.Second), plan.Probes{Readiness: plan.ProbeFailed})
		b.expect("calls", b.list(&b.calls), "[r 1s r 3s r 5s r 7s r 9s]")
	})
}

// TestAdopted: what an earlier agent knew stays true until a probe says otherwise.
func TestAdopted(t *testing.T) {
	probing(t, func(b *bench) {
		b.answer = func(string, time.Duration) (probe.Outcome, error) { return bad, nil }
		s := b.subject(probeSpec("s", nil), probeSpec("r", nil), nil)
		s.startedAt = b.began.Add(-time.Hour)
		s.known = plan.Probes{Startup: plan.ProbeSucceeded, Readiness: plan.ProbeSucceeded}
		b.follow(b.t.Context(), "uid", []*subject{s})
		b.expect("at first", b.after(0), s.known)
		b.expect("later", b.after(5*time.Second), plan.Probes{Startup: plan.ProbeSucceeded, Readiness: plan.ProbeFailed})
		if slices.ContainsFunc(b.list(&b.calls), func(c string) bool { return strings.HasPrefix(c, "s") }) {
			b.t.Errorf("calls %v", b.list(&b.calls))
		}
	})
}

// TestForgotten: a probe that is under way when its container ends is given up,
// and nothing is told of it.
func TestForgotten(t *testing.T) {
	probing(t, func(b *bench) {
		ended := make(chan struct{})
		b.run = func(ctx context.Context, _ *corev1.Probe, _ probe.Target) (probe.Outcome, error) {
			<-ctx.Done()
			close(ended)
			return bad, ctx.Err()
		}
		b.follow(b.t.Context(), "uid", []*subject{b.subject(nil, nil, probeSpec("l", nil))})
		b.after(2 * time.Second)
		b.follow(b.t.Context(), "uid", nil)
		<-ended
		b.after(10 * time.Second)
		b.expect("events", b.list(&b.told), "[]")
		b.prober.mu.Lock()
		b.expect("scheduled", len(b.tasks), 0)
		b.prober.mu.Unlock()
	})
}

// TestErrored: what could not be found out changes nothing, and says whether it was the
// container's doing.
func TestErrored(t *testing.T) {
	probing(t, func(b *bench) {
		outcome := probe.Outcome{}
		b.answer = func(string, time.Duration) (probe.Outcome, error) { return outcome, errors.New("no such file") }
		b.follow(b.t.Context(), "uid", []*subject{b.subject(nil, nil, probeSpec("l", nil))})
		b.after(2 * time.Second)
		b.mu.Lock()
		outcome.Result = probe.Failure
		b.mu.Unlock()
		b.expect("liveness", b.after(6*time.Second).Liveness, "")
		b.expect("events", b.list(&b.told), "[Unhealthy: Liveness probe errored and resulted in unknown state: no such file "+
			"Unhealthy: Liveness probe errored and resulted in failure state: no such file Unhealthy: Liveness probe errored and resulted in failure state: no such file]")
	})
}

// TestEventsAreBounded: a probe that fails for ever does not fill the disk.
func TestEventsAreBounded(t *testing.T) {
	probing(t, func(b *bench) {
		b.answer = func(string, time.Duration) (probe.Outcome, error) { return bad, nil }
		b.follow(b.t.Context(), "uid", []*subject{b.subject(nil, probeSpec("r", nil), nil)})
		b.after(time.Hour)
		b.expect("events in an hour", len(b.list(&b.told)), eventBurst+int(time.Hour/eventEvery)-1)
	})
}

// TestBounded: probes that hang keep others waiting, not away, and the bound holds.
func TestBounded(t *testing.T) {
	probing(t, func(b *bench) {
		var running, most, count atomic.Int32
		b.run = func(context.Context, *corev1.Probe, probe.Target) (probe.Outcome, error) {
			most.Store(max(most.Load(), running.Add(1)))
			time.Sleep(time.Second)
			running.Add(-1)
			count.Add(1)
			return good, nil
		}
		var all []*subject
		for i := range 3 * execProbesMax {
			s := b.subject(nil, nil, probeSpec("l", func(p *corev1.Probe) { p.PeriodSeconds = 3 }))
			s.id = fmt.Sprint(i)
			all = append(all, s)
		}
		b.follow(b.t.Context(), "uid", all)
		b.after(6 * time.Second)
		b.expect("at most", most.Load(), execProbesMax)
		b.expect("probes", count.Load(), 3*execProbesMax)
		b.follow(b.t.Context(), "uid", nil)
		b.after(9 * time.Second)
	})
}

// TestWakeUpsAreShared: a probe is made with one that is due a little sooner, but the
// first one not too soon.
func TestWakeUpsAreShared(t *testing.T) {
	probing(t, func(b *bench) {
		b.answer = func(string, time.Duration) (probe.Outcome, error) { return good, nil }
		sooner := b.subject(nil, nil, probeSpec("l", nil))
		later := b.subject(nil, probeSpec("r", func(p *corev1.Probe) { p.InitialDelaySeconds = 2 }), nil)
		later.id, later.startedAt = "later", later.startedAt.Add(150*time.Millisecond)
		b.follow(b.t.Context(), "uid", []*subject{sooner, later})
		b.after(6300 * time.Millisecond)
		calls := b.list(&b.calls)
		slices.Sort(calls)
		b.expect("calls", calls, "[l 2s l 4s l 6s r 2.15s r 4s r 6s]")
	})
}

// TestAskedTogether has more quick probes than may be under way at a time. Some take
// their time, some fail, some never end.
func TestAskedTogether(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/slow":
			time.Sleep(3 * probe.AnswerTime)
		case "/never":
			<-r.Context().Done()
		}
	}))
	defer server.Close() // waits for the requests, which have to be given up before
	port := server.Listener.Addr().(*net.TCPAddr).Port
	changed, told := make(chan string, 10*netProbesMax), make(chan string, 10*netProbesMax)
	probes := probe.New()
	p := newProber(probes.Run, func(uid string) { changed <- uid })
	p.quick = probes.Quick
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { p.serve(ctx); close(done) }()
	defer func() { cancel(); <-done }()
	follow := func(uid, path string, port int) {
		p.follow(ctx, uid, []*subject{{
			uid: uid, id: "id", startedAt: time.Now(), container: &corev1.Container{ReadinessProbe: &corev1.Probe{
				ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, Port: intstr.FromInt(port)}},
				PeriodSeconds: 1, TimeoutSeconds: 30, SuccessThreshold: 1, FailureThreshold: 1,
			}},
			target: func() probe.Target { return probe.Target{IP: "127.0.0.1"} },
			tell:   func(_, _, message string) { told <- uid + " " + message },
		}})
	}
	follow("nobody listens", "/", 1)
	follow("does not end", "/never", port)
	for i := range 2 * netProbesMax {
		follow(fmt.Sprint("quick ", i), "/", port)
		follow(fmt.Sprint("slow ", i), "/slow", port)
	}
	left := map[string]bool{"nobody listens": true}
	for i := range 2 * netProbesMax {
		left[fmt.Sprint("quick ", i)], left[fmt.Sprint("slow ", i)] = true, true
	}
	for len(left) > 0 {
		uid := <-changed
		want := plan.ProbeSucceeded
		if uid == "nobody listens" {
			want = plan.ProbeFailed
		}
		if got := p.results(uid, "id").Readiness; got != want {
			t.Errorf("%s: %v", uid, got)
		}
		delete(left, uid)
	}
	if got, want := <-told, `nobody listens Readiness probe failed: Get "http://127.0.0.1:1/": dial tcp 127.0.0.1:1: connect: connection refused`; got != want {
		t.Errorf("told: %s", got)
	}
	p.mu.Lock()
	uids := slices.Collect(maps.Keys(p.subjects))
	p.mu.Unlock()
	for _, uid := range uids {
		p.follow(ctx, uid, nil)
	}
}

// serverFor names the environment variable that makes TestServer the server of
// BenchmarkProber, in a process of its own.
const serverFor = "MINIKUBELET_BENCHMARK_SERVER"

func TestServer(t *testing.T) {
	if os.Getenv(serverFor) == "" {
		t.Skip("is the server of BenchmarkProber")
	}
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	fmt.Println(server.URL)
	_, _ = io.Copy(io.Discard, os.Stdin) // until the benchmark ends
}

func startServer(b *testing.B) (port string) {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), os.Args[0], "-test.run=^TestServer$")
	cmd.Env = append(os.Environ(), serverFor+"=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = in.Close(); _ = cmd.Wait() }) // nothing depends on how it ends
	var url string
	if _, err := fmt.Fscan(out, &url); err != nil {
		b.Fatal(err)
	}
	return url[strings.LastIndexByte(url, ':')+1:]
}

// BenchmarkProber gives the CPU time that the probes of a full node cost in a
// second: 110 Pods with three probes each, every second. schedule makes no requests.
func BenchmarkProber(b *testing.B) {
	port := startServer(b)
	nothing := func(context.Context, *corev1.Probe, probe.Target) (probe.Outcome, error) { return good, nil }
	probes := probe.New()
	for name, part := range map[string]struct {
		run   runFunc
		quick func(*corev1.Probe, probe.Target) *probe.Quick
	}{"schedule": {nothing, nil}, "alone": {probes.Run, nil}, "together": {probes.Run, probes.Quick}} {
		b.Run(name, func(b *testing.B) {
			var made atomic.Int64
			p := newProber(part.run, func(string) {})
			p.quick = part.quick
			ctx, cancel := context.WithCancel(b.Context())
			defer cancel()
			go p.serve(ctx)
			get := func() *corev1.Probe {
				return &corev1.Probe{
					ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.Parse(port)}},
					PeriodSeconds: 1, TimeoutSeconds: 1, SuccessThreshold: 1, FailureThreshold: 3,
				}
			}
			for i := range 110 {
				web := func(id string, c *corev1.Container) *subject {
					return &subject{
						uid: fmt.Sprint(i), id: id, startedAt: time.Now().Add(-time.Hour), container: c,
						target: func() probe.Target { return probe.Target{IP: "127.0.0.1"} }, tell: func(string, string, string) {},
						probed: func(_, result string, _ time.Duration) {
							if result == "successful" {
								made.Add(1)
							}
						},
					}
				}
				p.follow(ctx, fmt.Sprint(i), []*subject{
					web("a", &corev1.Container{ReadinessProbe: get(), LivenessProbe: get()}), web("b", &corev1.Container{LivenessProbe: get()}),
				})
			}
			time.Sleep(time.Second)
			made.Store(0)
			before := cpuTime(b)
			for b.Loop() {
				time.Sleep(time.Second)
			}
			b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N)/1e6, "cpu-ms/s")
			b.ReportMetric(float64(made.Load())/float64(b.N), "probes/s")
		})
	}
}

func cpuTime(b *testing.B) time.Duration {
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		b.Fatal(err)
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}
