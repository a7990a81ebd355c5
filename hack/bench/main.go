// SPDX-License-Identifier: Apache-2.0

// Command bench measures minikubelet beside the bare runtime, in the same run:
// how long Pods take to start, how many start in a second, what an agent and its
// Pods take of memory and CPU. And what its API does. Beside it podman, and
// kube-apiserver with etcd, when they are found on PATH.
//
//	go run ./hack/bench [-rounds N] [-pods N] [-only PART,PART…] [-json]
//
// It needs root, a built bin/ and the Debian package busybox-static, and belongs into
// the source directory. What it made on the machine it removes, also when it is
// interrupted.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/minikubelet/minikubelet/runtime/image/imagetest"
)

// row is one line of the result.
type row struct {
	What string `json:"what"`
	Unit string `json:"unit"`
	// Beside is what ours is compared with, median: the bare runtime or, for the API,
	// kube-apiserver with etcd or what the row says.
	Beside float64 `json:"beside,omitempty"`
	Ours   float64 `json:"ours"`            // median
	Best   float64 `json:"best,omitempty"`  // the least of ours
	Ratio  float64 `json:"ratio,omitempty"` // median of the ratios pair by pair
	Goal   string  `json:"goal,omitempty"`
}

// bench is one run of the program.
type bench struct {
	dir     string // scratch, removed at the end
	tmpfs   string // the same for what is in /run by default, bundles and state, which on a disk cost more
	bin     string
	rounds  int
	verbose bool
	pods    int
	serial  atomic.Int64 // of the floor's containers
	rows    []row
}

func main() {
	b := &bench{}
	only := flag.String("only", "starts,podman,throughput,node,volumes,users,lifecycle,probes", "what to measure; of the API: requests,watchers,objects,serve,apply")
	asJSON := flag.Bool("json", false, "print JSON")
	flag.BoolVar(&b.verbose, "v", false, "log every step")
	flag.IntVar(&b.rounds, "rounds", 15, "rounds of each start")
	flag.IntVar(&b.pods, "pods", 110, "Pods of the full node")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := b.run(ctx, strings.Split(*only, ",")); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	if *asJSON {
		enc := json.NewEncoder(os.Stdout)
		enc.SetIndent("", "  ")
		_ = enc.Encode(b.rows)
		return
	}
	b.print()
}

func (b *bench) run(ctx context.Context, parts []string) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("containers need root")
	}
	if b.bin, err = filepath.Abs("bin"); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(b.bin, "minikubelet")); err != nil {
		return fmt.Errorf("%w; run make build first", err)
	}
	if b.dir, err = os.MkdirTemp("", "mkb"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	if b.tmpfs, err = os.MkdirTemp("/run", "mkb"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.tmpfs)) }()
	for _, dir := range []string{b.dir, b.tmpfs} {
		if err := os.Chmod(dir, 0o711); err != nil { // users of Pods enter it
			return err
		}
	}
	if err := imagetest.BuildFile(b.path("busybox.tar"), imagetest.Options{}); err != nil {
		return err
	}
	all := map[string]func(context.Context) error{
		"starts":     b.inAgent("starts", b.starts),
		"podman":     b.podman,
		"throughput": b.inAgent("throughput", b.throughput),
		"node":       b.onDaemon(b.node),
		"volumes":    b.inAgent("volumes", b.volumeCost, b.updateLatency, b.projectedMemory),
		"users":      b.inAgent("users", b.users),
		"lifecycle":  b.inAgent("lifecycle", b.exits, b.failedProbes, b.deletions),
		"probes":     b.onDaemon(b.probes),
		"requests":   b.api(requests),
		"watchers":   b.api(manyWatchers),
		"objects":    b.api(manyFull),
		"serve":      b.onDaemon(b.apiNode),
		"apply":      b.onDaemon(b.apply),
	}
	for _, name := range parts {
		if all[name] == nil {
			return fmt.Errorf("-only: there is no part %q", name)
		}
	}
	for _, name := range parts {
		if err := all[name](ctx); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func (b *bench) path(parts ...string) string {
	return filepath.Join(append([]string{b.dir}, parts...)...)
}

// add keeps a result and says it at once: the whole takes minutes.
func (b *bench) add(r row) {
	b.rows = append(b.rows, r)
	fmt.Fprintf(os.Stderr, "  %-64s %8.2f %s\n", r.What, r.Ours, r.Unit)
}

func (b *bench) print() {
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\tunit\tbeside\tours, median\tbest\tratio\tgoal\t")
	number := func(f float64) string {
		if f == 0 {
			return "–"
		}
		return fmt.Sprintf("%.*f", digits(f), f)
	}
	for _, r := range b.rows {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", r.What, r.Unit, number(r.Beside), number(r.Ours), number(r.Best), number(r.Ratio), r.Goal)
	}
	_ = w.Flush()
}

// digits behind the point that are worth reading.
func digits(f float64) int {
	if f < 10 {
		return 2
	}
	return 1
}

// median of some numbers; 0 of none.
func median(list []float64) float64 {
	if len(list) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(list))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
