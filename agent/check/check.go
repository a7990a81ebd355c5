// SPDX-License-Identifier: Apache-2.0

package check

import (
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/minikubelet/minikubelet/cgroups"
	"github.com/minikubelet/minikubelet/network"
	"github.com/minikubelet/minikubelet/runtime/engine"
	"github.com/minikubelet/minikubelet/runtime/spec"
)

// Level grades a result.
type Level string

const (
	// OK: it is there.
	OK Level = "OK"
	// Warn: Pods run without it, but lack something.
	Warn Level = "WARN"
	// Fail: Pods cannot run without it.
	Fail Level = "FAIL"
)

// Result is the answer to one question. Consequence and Remedy are empty when the
// level is OK.
type Result struct {
	Level       Level  `json:"level"`
	Name        string `json:"name"`
	Found       string `json:"found"`
	Consequence string `json:"consequence,omitempty"`
	Remedy      string `json:"remedy,omitempty"`
}

// Config says whose needs to check.
type Config struct {
	DataDir, RunDir, LogDir string
	// Runc is another OCI runtime than the built-in one; Containerd the socket of
	// an external containerd. Empty: our own.
	Runc, Containerd string
	// Resources are the node's capacity and what Pods may request, as text.
	Capacity, Allocatable string
}

// Usable tells whether Pods can run: nothing essential is missing.
func Usable(results []Result) bool {
	for _, r := range results {
		if r.Level == Fail {
			return false
		}
	}
	return true
}

// Machine asks everything about this machine.
func Machine(cfg Config) []Result {
	var out []Result
	add := func(r ...Result) { out = append(out, r...) }

	add(kernel(kernelRelease()), root(os.Geteuid()))
	node, err := spec.DetectNode()
	if err != nil {
		add(Result{Fail, "process", err.Error(), "containers cannot be described", "mount /proc and /sys/fs/cgroup as every distribution does"})
	} else {
		add(capabilities(node.Capabilities, node.OOMScoreAdjFloor)...)
		add(seccomp(node.NoSeccomp), appArmor(node.AppArmor, "apparmor_parser"))
	}
	add(userNamespaces(UserNamespaces(cfg.DataDir, cfg.RunDir), mappedMemory()), openat2())

	machine, err := cgroups.Probe()
	add(cgroup(machine, err)...)
	add(hugePages("/sys/kernel/mm/hugepages"))
	add(capacity(cfg)...)

	add(dataDir(cfg.DataDir), overlay(cfg.DataDir), space("data directory", cfg.DataDir), space("log directory", cfg.LogDir), volumeSizes(cfg.DataDir), nfsClient())
	add(executableDir(cfg.DataDir), binaries(cfg), memory("/proc/meminfo"))

	add(networkFacts(network.Probe())...)
	add(resolver(network.DefaultResolvConf), clock(time.Now(), timeFloor(os.Args[0])))
	add(limits("/proc/sys")...)
	add(openFiles(), systemd("/run/systemd/system", "/proc/self/cgroup"))
	return out
}

func capacity(cfg Config) []Result {
	return []Result{
		{Level: OK, Name: "node capacity", Found: cfg.Capacity},
		{Level: OK, Name: "node allocatable", Found: cfg.Allocatable},
	}
}

// networkFacts grades: without namespaces, bridges and veths only Pods on the
// host's network can run. What is tried in a namespace is left out without one.
func networkFacts(facts []network.Fact) []Result {
	var out []Result
	namespaces := true
	for _, f := range facts {
		r := Result{Level: OK, Name: f.Name, Found: "usable", Consequence: f.Consequence, Remedy: f.Remedy}
		if !f.OK {
			r.Level, r.Found = Warn, "missing"
		}
		switch f.Name {
		case "network namespaces":
			namespaces = f.OK
			r.Level = gradeNetwork(f)
		case "bridge", "veth":
			r.Level = gradeNetwork(f)
			fallthrough
		case "nftables":
			if !namespaces {
				continue
			}
		}
		out = append(out, r)
	}
	return out
}

func gradeNetwork(f network.Fact) Level {
	if f.OK {
		return OK
	}
	return Fail
}

// binaries looks for runc and the shim.
func binaries(cfg Config) Result {
	r := Result{Level: OK, Name: "runc and shim"}
	paths, inside, err := engine.Look(cfg.DataDir)
	switch {
	case err != nil:
		r.Level, r.Found = Fail, err.Error()
		r.Consequence, r.Remedy = "no container can be started", "use the program that `make build` makes, which has both inside, or put them on PATH"
	case inside:
		r.Found = "built in"
	default:
		r.Found = paths.Runc + ", " + paths.Shim
	}
	if err == nil && cfg.Runc != "" {
		r.Found = strings.TrimPrefix(cfg.Runc+" as configured, shim "+r.Found, " ")
	}
	return r
}

// existing is the nearest directory above path, or path itself, that is there.
func existing(path string) string {
	for {
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			return path
		}
		if path == filepath.Dir(path) {
			return path
		}
		path = filepath.Dir(path)
	}
}

// read gives the text of a small file without the blanks around it.
func read(path string) (string, bool) {
	data, err := os.ReadFile(path)
	return strings.TrimSpace(string(data)), err == nil
}
