// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	"github.com/minikubelet/minikubelet/runtime/engine"
	"github.com/minikubelet/minikubelet/runtime/spec"
)

// DefaultConfigFile is read when it exists and no other is named.
const DefaultConfigFile = "/etc/minikubelet/config.yaml"

// Config is the agent's configuration. Every field is a key of the configuration
// file and a flag of the same name in kebab case.
type Config struct {
	// Version is the program's, for whoever asks a running agent.
	Version string `json:"-"`

	// DataDir keeps state over reboots: state.db, images, snapshots, volumes.
	DataDir string `json:"dataDir,omitempty"`
	// RunDir keeps what ends with a reboot: sockets, namespaces, mounts.
	RunDir string `json:"runDir,omitempty"`
	// LogDir gets the containers' logs in the kubelet's layout.
	LogDir string `json:"logDir,omitempty"`
	// Manifests is the directory whose Pods serve keeps running.
	Manifests string `json:"manifests,omitempty"`
	// NodeName is the node's name; the host name by default.
	NodeName string `json:"nodeName,omitempty"`

	// Listen is the address of the Kubernetes API, "none" for none. By default it is
	// 127.0.0.1:6443, or another port of loopback when that is taken and for agents
	// with a data directory of their own; the kubeconfig has it.
	Listen string `json:"listen,omitempty"`
	// ListenPods lets Pods reach the API, on the Pod bridge's gateway address and the
	// API's port; Pods then get tokens unless they say otherwise.
	ListenPods bool `json:"listenPods,omitempty"`
	// Kubeconfig is the file that serve writes for the API's administrator; by
	// default /etc/minikubelet/kubeconfig, or kubeconfig in a data directory of its
	// own.
	Kubeconfig string `json:"kubeconfig,omitempty"`
	// TokenAuthFile has users of the API with tokens of their own, in kube-apiserver's
	// form: token,name,uid,"group,group". It is read at start.
	TokenAuthFile string `json:"tokenAuthFile,omitempty"`

	// ContainerdAddress is the socket of a containerd to use instead of our own.
	ContainerdAddress string `json:"containerdAddress,omitempty"`
	// ContainerdNamespace is the containerd namespace of our containers.
	ContainerdNamespace string `json:"containerdNamespace,omitempty"`
	// Runc is the OCI runtime: a path or a name on PATH; empty is our own.
	Runc string `json:"runc,omitempty"`

	// Bridge is the name of the Pod network's bridge, at most 15 characters.
	Bridge string `json:"bridge,omitempty"`
	// PodSubnet has the Pods' addresses, like 10.88.0.0/24.
	PodSubnet string `json:"podSubnet,omitempty"`
	// CgroupRoot is the cgroup below which ours is made.
	CgroupRoot string `json:"cgroupRoot,omitempty"`

	// RegistryHosts is the directory of hosts.toml files, as containerd knows them.
	RegistryHosts string `json:"registryHosts,omitempty"`
	// RegistryAuth is a docker config.json with credentials.
	RegistryAuth string `json:"registryAuth,omitempty"`

	// LogMaxSize and LogMaxFiles bound a container's log; there are two files at
	// least, the one that is written and one that was rotated.
	LogMaxSize  string `json:"logMaxSize,omitempty"`
	LogMaxFiles int    `json:"logMaxFiles,omitempty"`

	// MaxPods is how many Pods may be there at the same time.
	MaxPods int `json:"maxPods,omitempty"`
	// TerminatedPodGCThreshold is how many ended Pods are kept; beyond it they are deleted,
	// evicted ones first, then the oldest. 0 keeps all. Pods of manifests do not count.
	TerminatedPodGCThreshold int `json:"terminatedPodGCThreshold,omitempty"`
	// PodPidsLimit is how many processes a Pod may have; 0 for no limit.
	PodPidsLimit int64 `json:"podPidsLimit,omitempty"`
	// ReservedCPU and ReservedMemory are kept back from Pods for the machine.
	ReservedCPU    string `json:"reservedCPU,omitempty"`
	ReservedMemory string `json:"reservedMemory,omitempty"`
	// EvictionHard has what the node must have left, by signal (memory.available,
	// allocatableMemory.available, nodefs.available, nodefs.inodesFree, imagefs.available, imagefs.inodesFree,
	// pid.available), as 100Mi or 10%; below it Pods are evicted. nil: the kubelet's
	// defaults. EvictionSoft is the same for Pods that are evicted after
	// EvictionSoftGracePeriod, and EvictionMinimumReclaim what has to be left beyond it.
	EvictionHard            map[string]string `json:"evictionHard,omitempty"`
	EvictionSoft            map[string]string `json:"evictionSoft,omitempty"`
	EvictionSoftGracePeriod map[string]string `json:"evictionSoftGracePeriod,omitempty"`
	EvictionMinimumReclaim  map[string]string `json:"evictionMinimumReclaim,omitempty"`
	// EvictionPressureTransitionPeriod is how long a condition of pressure stays after it
	// was last seen.
	EvictionPressureTransitionPeriod string `json:"evictionPressureTransitionPeriod,omitempty"`
	// EvictionMaxPodGracePeriod is how many seconds a Pod has at most that a soft
	// threshold evicts.
	EvictionMaxPodGracePeriod int64 `json:"evictionMaxPodGracePeriod,omitempty"`
	// ImageGCHighThresholdPercent is how full the images' file system may be before unused
	// images are removed, and ImageGCLowThresholdPercent how full it may be then.
	ImageGCHighThresholdPercent int `json:"imageGCHighThresholdPercent,omitempty"`
	ImageGCLowThresholdPercent  int `json:"imageGCLowThresholdPercent,omitempty"`

	// ShutdownPods ends the Pods when the agent is asked to end by SIGTERM or SIGINT.
	ShutdownPods bool `json:"shutdownPods,omitempty"`
	// ShutdownGracePeriod is how long Pods have in all when the machine shuts down or,
	// with ShutdownPods, when the agent ends, and ShutdownGracePeriodCriticalPods the
	// last part of it that is for critical ones. 0: Pods are not ended when the machine
	// shuts down; with ShutdownPods they have 30 s, of which 10 are the critical ones'.
	ShutdownGracePeriod             string `json:"shutdownGracePeriod,omitempty"`
	ShutdownGracePeriodCriticalPods string `json:"shutdownGracePeriodCriticalPods,omitempty"`
	// ShutdownGracePeriodByPodPriority has classes of its own instead of those two.
	ShutdownGracePeriodByPodPriority []ShutdownClass `json:"shutdownGracePeriodByPodPriority,omitempty"`

	// CompatSyscalls lets containers under the RuntimeDefault seccomp profile run
	// 32-bit programs on a 64-bit machine. Starting a container takes longer then.
	CompatSyscalls bool `json:"compatSyscalls,omitempty"`
	// SeccompDefault is the profile of containers that ask for none: RuntimeDefault, or
	// Unconfined as with a kubelet without its seccompDefault.
	SeccompDefault string `json:"seccompDefault,omitempty"`
	// AllowedUnsafeSysctls are kernel parameters, or beginnings of their names with a * at
	// the end, that Pods may set beside the safe ones.
	AllowedUnsafeSysctls []string `json:"allowedUnsafeSysctls,omitempty"`
	// IDsPerPod is how many users and groups a Pod with hostUsers: false has, a multiple
	// of 65536.
	IDsPerPod int64 `json:"idsPerPod,omitempty"`
	// PodIDs are the machine's users and groups that such Pods have, as the first and
	// their number: 65536:2147418112. Empty: those of the user kubelet in /etc/subuid and
	// /etc/subgid; without that user, all from the first after IDsPerPod below 2147483648.
	PodIDs string `json:"podIDs,omitempty"`
	// AllowedHostPaths are the prefixes that hostPath volumes may use; empty
	// allows all.
	AllowedHostPaths []string `json:"allowedHostPaths,omitempty"`
}

// defaultDataDir is that of the machine's main agent, which has the short names.
const defaultDataDir = "/var/lib/minikubelet"

// DefaultConfig is what an agent runs with when nothing is configured.
func DefaultConfig() Config {
	return Config{
		DataDir: defaultDataDir, RunDir: "/run/minikubelet", LogDir: "/var/log/pods",
		Manifests:   "/etc/minikubelet/manifests",
		CgroupRoot:  "/",
		LogMaxSize:  "10Mi",
		LogMaxFiles: 5,
		MaxPods:     110,

		TerminatedPodGCThreshold:         100,
		EvictionPressureTransitionPeriod: "5m",
		ImageGCHighThresholdPercent:      85,
		ImageGCLowThresholdPercent:       80,
		SeccompDefault:                   string(spec.SeccompRuntimeDefault),
		IDsPerPod:                        65536,
	}
}

// LoadFile sets what a configuration file says. Unknown keys are errors. A file
// that does not exist is an error unless optional is set.
func (c *Config) LoadFile(path string, optional bool) error {
	data, err := os.ReadFile(path)
	if optional && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	if err := yaml.UnmarshalStrict(data, c); err != nil {
		return fmt.Errorf("configuration %s: %w", path, err)
	}
	return nil
}

// instance is a short name that differs for agents with different data
// directories; the one with the default directory has none.
func (c *Config) instance() string {
	if c.DataDir == defaultDataDir {
		return ""
	}
	sum := sha256.Sum256([]byte(c.DataDir))
	return hex.EncodeToString(sum[:4])
}

// name is the agent's name for what is made on the machine: minikubelet, or
// minikubelet-1a2b3c4d.
func (c *Config) name() string {
	if i := c.instance(); i != "" {
		return "minikubelet-" + i
	}
	return "minikubelet"
}

// complete fills in what follows from the machine and from other values, makes
// paths absolute, and checks everything, telling all errors at once.
func (c *Config) complete() error {
	var errs []error
	for name, path := range map[string]*string{
		"dataDir": &c.DataDir, "runDir": &c.RunDir, "logDir": &c.LogDir, "manifests": &c.Manifests,
		"registryHosts": &c.RegistryHosts, "registryAuth": &c.RegistryAuth, "kubeconfig": &c.Kubeconfig,
		"tokenAuthFile": &c.TokenAuthFile,
	} {
		if *path == "" {
			continue
		}
		abs, err := filepath.Abs(*path)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
		*path = abs
	}
	if c.NodeName == "" {
		host, err := os.Hostname()
		if err != nil {
			errs = append(errs, fmt.Errorf("nodeName: %w", err))
		}
		c.NodeName = strings.ToLower(host)
	}
	for _, msg := range validation.IsDNS1123Subdomain(c.NodeName) {
		errs = append(errs, fmt.Errorf("nodeName %q: %s", c.NodeName, msg))
	}
	if c.ContainerdNamespace == "" {
		c.ContainerdNamespace = c.name()
	}
	if c.PodSubnet != "" {
		if _, err := netip.ParsePrefix(c.PodSubnet); err != nil {
			errs = append(errs, fmt.Errorf("podSubnet: %w; write it like 10.88.0.0/24", err))
		}
	}
	if c.Listen != "" && c.Listen != listenNone {
		if _, _, err := net.SplitHostPort(c.Listen); err != nil {
			errs = append(errs, fmt.Errorf("listen %q: must be an address with a port, like 127.0.0.1:6443, or none", c.Listen))
		}
	}
	if c.ListenPods && c.Listen == listenNone {
		errs = append(errs, errors.New("listenPods: needs the API's port, and listen is none; give listen an address or leave it out"))
	}
	if !filepath.IsAbs(c.CgroupRoot) {
		errs = append(errs, fmt.Errorf("cgroupRoot %q: must be absolute", c.CgroupRoot))
	}
	for name, v := range map[string]string{"logMaxSize": c.LogMaxSize, "reservedCPU": c.ReservedCPU, "reservedMemory": c.ReservedMemory} {
		if v == "" {
			continue
		}
		if q, err := resource.ParseQuantity(v); err != nil || q.Sign() < 0 {
			errs = append(errs, fmt.Errorf("%s %q: must be a quantity such as 10Mi or 500m", name, v))
		}
	}
	if kind := spec.Seccomp(c.SeccompDefault); kind != spec.SeccompRuntimeDefault && kind != spec.SeccompUnconfined {
		errs = append(errs, fmt.Errorf("seccompDefault %q: must be RuntimeDefault or Unconfined", c.SeccompDefault))
	}
	if _, err := spec.AllowSysctls(c.AllowedUnsafeSysctls); err != nil {
		errs = append(errs, fmt.Errorf("allowedUnsafeSysctls: %w", err))
	}
	for _, dir := range c.AllowedHostPaths {
		if !filepath.IsAbs(dir) {
			errs = append(errs, fmt.Errorf("allowedHostPaths %q: must be absolute", dir))
		}
	}
	_, err := c.idRanges()
	errs = append(errs, c.checkShutdown(), c.checkEviction(), err)
	if c.LogMaxFiles < 2 {
		errs = append(errs, fmt.Errorf("logMaxFiles %d: must be at least 2, one to write and one that was rotated", c.LogMaxFiles))
	}
	if c.TerminatedPodGCThreshold < 0 {
		errs = append(errs, fmt.Errorf("terminatedPodGCThreshold %d: must be 0, for no limit, or more", c.TerminatedPodGCThreshold))
	}
	if c.MaxPods < 1 {
		errs = append(errs, fmt.Errorf("maxPods %d: must be at least 1", c.MaxPods))
	}
	return errors.Join(errs...)
}

// KubeconfigPath is the file that serve writes.
func (c *Config) KubeconfigPath() string {
	switch {
	case c.Kubeconfig != "":
		return c.Kubeconfig
	case c.DataDir == defaultDataDir:
		return "/etc/minikubelet/kubeconfig"
	}
	return filepath.Join(c.DataDir, "kubeconfig")
}

func (c *Config) podsDir() string { return filepath.Join(c.DataDir, "pods") }
func (c *Config) pkiDir() string  { return filepath.Join(c.DataDir, "pki") }

// seccompDir has the seccomp profiles that Pods may name.
func (c *Config) seccompDir() string { return filepath.Join(c.DataDir, "seccomp") }
func (c *Config) imagesDir() string  { return filepath.Join(c.DataDir, "images") }

// pauseRoot is the root directory of the processes that hold sandboxes.
func (c *Config) pauseRoot() string { return filepath.Join(c.DataDir, "pause") }
func (c *Config) netnsDir() string  { return filepath.Join(c.RunDir, "netns") }
func (c *Config) statePath() string { return filepath.Join(c.DataDir, "state.db") }

// quantity is a checked one; zero when empty.
func quantity(s string) resource.Quantity {
	if s == "" {
		return resource.Quantity{}
	}
	return resource.MustParse(s)
}

// containerdState is the state directory of the embedded containerd.
func (c *Config) containerdState() string { return filepath.Join(c.RunDir, "containerd") }

// attachDir has the sockets by which clients attach to containers.
func (c *Config) attachDir() string { return engine.SocketDir(filepath.Join(c.RunDir, "attach")) }
