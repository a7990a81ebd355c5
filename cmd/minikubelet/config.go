// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/minikubelet/minikubelet/agent"
)

// global has the flags that all commands take. A flag wins over the
// configuration file, and that over the defaults.
type global struct {
	file   string
	flag   agent.Config
	debug  bool
	output string

	priorities priorityFlag
}

func (g *global) flags(cmd *cobra.Command) {
	f := cmd.PersistentFlags()
	d := agent.DefaultConfig()
	g.flag = d
	f.StringVar(&g.file, "config", agent.DefaultConfigFile, "configuration file")
	f.StringVar(&g.flag.DataDir, "data-dir", d.DataDir, "state that survives a reboot")
	f.StringVar(&g.flag.RunDir, "run-dir", d.RunDir, "sockets, namespaces and what else ends with a reboot")
	f.StringVar(&g.flag.LogDir, "log-dir", d.LogDir, "container logs")
	f.StringVar(&g.flag.NodeName, "node-name", "", "name of the node (default the host name)")
	f.StringVar(&g.flag.ContainerdAddress, "containerd-address", "", "socket of a containerd to use instead of the built-in one")
	f.StringVar(&g.flag.ContainerdNamespace, "containerd-namespace", "", "containerd namespace (default minikubelet, with a suffix for other data directories)")
	f.StringVar(&g.flag.Runc, "runc", "", "OCI runtime, path or name on PATH (default the built-in runc)")
	f.StringVar(&g.flag.Bridge, "bridge", "", "bridge of the Pod network (default derived)")
	f.StringVar(&g.flag.PodSubnet, "pod-subnet", "", "addresses of Pods, like 10.88.0.0/24 (default a free one)")
	f.StringVar(&g.flag.CgroupRoot, "cgroup-root", d.CgroupRoot, "cgroup below which the agent makes its own")
	f.StringVar(&g.flag.RegistryHosts, "registry-hosts", "", "directory of hosts.toml files for registries and mirrors")
	f.StringVar(&g.flag.RegistryAuth, "registry-auth", "", "docker config.json with credentials for registries")
	f.StringVar(&g.flag.LogMaxSize, "log-max-size", d.LogMaxSize, "size at which a container's log is rotated")
	f.IntVar(&g.flag.LogMaxFiles, "log-max-files", d.LogMaxFiles, "files that a container's log may have")
	f.IntVar(&g.flag.MaxPods, "max-pods", d.MaxPods, "Pods that may be there at the same time")
	f.IntVar(&g.flag.TerminatedPodGCThreshold, "terminated-pod-gc-threshold", d.TerminatedPodGCThreshold, "ended Pods that are kept; 0 for all")
	f.Int64Var(&g.flag.PodPidsLimit, "pod-pids-limit", 0, "processes that a Pod may have (default no limit)")
	f.StringVar(&g.flag.ReservedCPU, "reserved-cpu", "", "CPU kept back for the machine, like 250m")
	f.StringVar(&g.flag.ReservedMemory, "reserved-memory", "", "memory kept back for the machine, like 256Mi")
	f.Var((*signalFlag)(&g.flag.EvictionHard), "eviction-hard", "what the node must have left, like memory.available<100Mi,nodefs.available<10% (default the kubelet's)")
	f.Var((*signalFlag)(&g.flag.EvictionSoft), "eviction-soft", "what the node must have left for longer than eviction-soft-grace-period")
	f.Var((*signalFlag)(&g.flag.EvictionSoftGracePeriod), "eviction-soft-grace-period", "how long there may be less, like memory.available=90s")
	f.Var((*signalFlag)(&g.flag.EvictionMinimumReclaim), "eviction-minimum-reclaim", "what must be left beyond a threshold once it was met, like nodefs.available=500Mi")
	f.StringVar(&g.flag.EvictionPressureTransitionPeriod, "eviction-pressure-transition-period", d.EvictionPressureTransitionPeriod, "how long the node's condition of pressure stays")
	f.Int64Var(&g.flag.EvictionMaxPodGracePeriod, "eviction-max-pod-grace-period", 0, "seconds that a Pod has at most that a soft threshold evicts")
	f.IntVar(&g.flag.ImageGCHighThresholdPercent, "image-gc-high-threshold-percent", d.ImageGCHighThresholdPercent, "how full the images' file system may be before unused images are removed")
	f.IntVar(&g.flag.ImageGCLowThresholdPercent, "image-gc-low-threshold-percent", d.ImageGCLowThresholdPercent, "how full it may be then")
	f.BoolVar(&g.flag.ShutdownPods, "shutdown-pods", false, "end the Pods, in the order of their priorities, when the agent ends")
	f.StringVar(&g.flag.ShutdownGracePeriod, "shutdown-grace-period", "", "how long Pods have when the machine shuts down, like 30s (default they are not ended)")
	f.StringVar(&g.flag.ShutdownGracePeriodCriticalPods, "shutdown-grace-period-critical-pods", "", "the last part of it, for critical Pods")
	f.Var(&g.priorities, "shutdown-grace-period-by-pod-priority", "instead, seconds for each priority, like 0=20,2000000000=10")
	f.BoolVar(&g.flag.CompatSyscalls, "compat-syscalls", false, "let containers run 32-bit programs on a 64-bit machine (default seccomp profile)")
	f.StringVar(&g.flag.SeccompDefault, "seccomp-default", d.SeccompDefault, "seccomp profile of containers that ask for none: RuntimeDefault or Unconfined")
	f.StringSliceVar(&g.flag.AllowedUnsafeSysctls, "allowed-unsafe-sysctls", nil, "kernel parameters that Pods may set beside the safe ones, like net.core.*")
	f.Int64Var(&g.flag.IDsPerPod, "ids-per-pod", d.IDsPerPod, "users and groups of a Pod with hostUsers: false, a multiple of 65536")
	f.StringVar(&g.flag.PodIDs, "pod-ids", "", "first and number of the users and groups that such Pods have, like 65536:2147418112 (default those of kubelet in /etc/subuid, or these)")
	f.StringSliceVar(&g.flag.AllowedHostPaths, "allowed-host-paths", nil, "prefixes that hostPath volumes may use (default all)")
	f.BoolVar(&g.debug, "debug", false, "log every step")
	f.StringVarP(&g.output, "output", "o", "", "json for machine-readable output")
}

// fields maps flags to what they set.
func fields(to, from *agent.Config) map[string]func() {
	return map[string]func(){
		"data-dir": func() { to.DataDir = from.DataDir }, "run-dir": func() { to.RunDir = from.RunDir },
		"log-dir": func() { to.LogDir = from.LogDir }, "node-name": func() { to.NodeName = from.NodeName },
		"listen": func() { to.Listen = from.Listen }, "kubeconfig": func() { to.Kubeconfig = from.Kubeconfig },
		"listen-pods":     func() { to.ListenPods = from.ListenPods },
		"token-auth-file": func() { to.TokenAuthFile = from.TokenAuthFile },
		"manifests":       func() { to.Manifests = from.Manifests }, "containerd-address": func() { to.ContainerdAddress = from.ContainerdAddress },
		"containerd-namespace": func() { to.ContainerdNamespace = from.ContainerdNamespace }, "runc": func() { to.Runc = from.Runc },
		"bridge": func() { to.Bridge = from.Bridge }, "pod-subnet": func() { to.PodSubnet = from.PodSubnet },
		"cgroup-root": func() { to.CgroupRoot = from.CgroupRoot }, "registry-hosts": func() { to.RegistryHosts = from.RegistryHosts },
		"registry-auth": func() { to.RegistryAuth = from.RegistryAuth }, "log-max-size": func() { to.LogMaxSize = from.LogMaxSize },
		"log-max-files": func() { to.LogMaxFiles = from.LogMaxFiles }, "max-pods": func() { to.MaxPods = from.MaxPods },
		"pod-pids-limit": func() { to.PodPidsLimit = from.PodPidsLimit }, "reserved-cpu": func() { to.ReservedCPU = from.ReservedCPU },
		"eviction-hard":                       func() { to.EvictionHard = from.EvictionHard },
		"eviction-soft":                       func() { to.EvictionSoft = from.EvictionSoft },
		"eviction-soft-grace-period":          func() { to.EvictionSoftGracePeriod = from.EvictionSoftGracePeriod },
		"eviction-minimum-reclaim":            func() { to.EvictionMinimumReclaim = from.EvictionMinimumReclaim },
		"eviction-pressure-transition-period": func() { to.EvictionPressureTransitionPeriod = from.EvictionPressureTransitionPeriod },
		"eviction-max-pod-grace-period":       func() { to.EvictionMaxPodGracePeriod = from.EvictionMaxPodGracePeriod },
		"image-gc-high-threshold-percent":     func() { to.ImageGCHighThresholdPercent = from.ImageGCHighThresholdPercent },
		"image-gc-low-threshold-percent":      func() { to.ImageGCLowThresholdPercent = from.ImageGCLowThresholdPercent },
		"reserved-memory":                     func() { to.ReservedMemory = from.ReservedMemory }, "shutdown-pods": func() { to.ShutdownPods = from.ShutdownPods },
		"shutdown-grace-period":                 func() { to.ShutdownGracePeriod = from.ShutdownGracePeriod },
		"shutdown-grace-period-critical-pods":   func() { to.ShutdownGracePeriodCriticalPods = from.ShutdownGracePeriodCriticalPods },
		"shutdown-grace-period-by-pod-priority": func() { to.ShutdownGracePeriodByPodPriority = from.ShutdownGracePeriodByPodPriority },
		"ids-per-pod":                           func() { to.IDsPerPod = from.IDsPerPod }, "pod-ids": func() { to.PodIDs = from.PodIDs },
		"terminated-pod-gc-threshold": func() { to.TerminatedPodGCThreshold = from.TerminatedPodGCThreshold },
		"seccomp-default":             func() { to.SeccompDefault = from.SeccompDefault },
		"allowed-unsafe-sysctls":      func() { to.AllowedUnsafeSysctls = from.AllowedUnsafeSysctls },
		"compat-syscalls":             func() { to.CompatSyscalls = from.CompatSyscalls }, "allowed-host-paths": func() { to.AllowedHostPaths = from.AllowedHostPaths },
	}
}

// config joins defaults, file and flags.
func (g *global) config(cmd *cobra.Command) (agent.Config, error) {
	cfg := agent.DefaultConfig()
	if g.output != "" && g.output != "json" {
		return cfg, fmt.Errorf("--output %q: must be json or left out", g.output)
	}
	if err := cfg.LoadFile(g.file, !cmd.Flags().Changed("config")); err != nil {
		return cfg, err
	}
	g.flag.ShutdownGracePeriodByPodPriority = agent.ShutdownClassesOf(g.priorities)
	for name, set := range fields(&cfg, &g.flag) {
		if cmd.Flags().Changed(name) {
			set()
		}
	}
	return cfg, nil
}

func (g *global) json() bool { return g.output == "json" }

// logger writes text on a terminal and JSON otherwise, with priorities for systemd's
// journal.
func (g *global) logger(level slog.Level) *slog.Logger {
	if g.debug {
		level = slog.LevelDebug
	}
	opts := &slog.HandlerOptions{Level: level}
	if term.IsTerminal(int(os.Stderr.Fd())) {
		return slog.New(slog.NewTextHandler(os.Stderr, opts))
	}
	newJSON := func(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, opts) }
	if toJournal(os.Stderr) {
		return slog.New(newJournal(os.Stderr, newJSON))
	}
	return slog.New(newJSON(os.Stderr))
}
