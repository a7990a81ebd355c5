// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// NamespaceOptions says which namespaces of its own a Pod gets.
type NamespaceOptions struct {
	Net, IPC, UTS bool
	// Hostname is set in the UTS namespace.
	Hostname string
	// Sysctls are kernel parameters of the new network and IPC namespaces, by names with dots; a slash in a name stands for a dot of
	// an interface's name. Defaults are set before them as far as /proc/sys can be written to.
	Sysctls, Defaults map[string]string
}

// Namespaces are the paths by which containers, and the network's set-up, find a Pod's namespaces. A path is empty when the Pod
// shares the host's.
type Namespaces struct {
	Net, IPC, UTS string
}

// kinds of namespaces in the order in which they are made; name is that below /proc/self/ns.
var namespaceKinds = [...]struct {
	name string
	flag int
}{{"net", unix.CLONE_NEWNET}, {"ipc", unix.CLONE_NEWIPC}, {"uts", unix.CLONE_NEWUTS}}

// PinNamespaces makes the namespaces that options asks for and keeps them alive by bind mounts in dir, which it makes too. The
// loopback interface of a new network namespace is up. What an earlier call has pinned there is kept as it is, so the call can be
// repeated after a crash. On error, what this call pinned is unpinned by UnpinNamespaces.
func PinNamespaces(dir string, options NamespaceOptions) (Namespaces, error) {
	result := NamespacePaths(dir, options)
	wanted := map[string]string{"net": result.Net, "ipc": result.IPC, "uts": result.UTS}
	var missing []int
	for i, kind := range namespaceKinds {
		if path := wanted[kind.name]; path != "" && !isNamespace(path) {
			missing = append(missing, i)
		}
	}
	if len(missing) == 0 {
		return result, nil
	}
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return Namespaces{}, fmt.Errorf("pin namespaces: %w", err)
	}
	if err := onOwnThread(func() error { return unshareAndPin(dir, missing, &options) }); err != nil {
		return Namespaces{}, fmt.Errorf("pin namespaces in %s: %w", dir, err)
	}
	return result, nil
}

// NamespacePaths are the paths that PinNamespaces gives. It makes nothing.
func NamespacePaths(dir string, options NamespaceOptions) Namespaces {
	path := func(wanted bool, name string) string {
		if !wanted {
			return ""
		}
		return filepath.Join(dir, name)
	}
	return Namespaces{Net: path(options.Net, "net"), IPC: path(options.IPC, "ipc"), UTS: path(options.UTS, "uts")}
}

// onOwnThread runs fn on a thread that ends afterwards, since it has left the host's namespaces. The process' first thread cannot end,
// and /proc/self shows its namespaces as those of the process: when fn would land there, that thread is held until fn ran on another.
func onOwnThread(fn func() error) error {
	done := make(chan error)
	go func() {
		goruntime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			done <- onOwnThread(fn)
			goruntime.UnlockOSThread()
			return
		}
		// Never unlocked, which makes the thread end together with this goroutine.
		done <- fn()
	}()
	return <-done
}

// unshareAndPin moves the current thread into new namespaces, sets them up, and only then pins them: what is pinned is complete.
func unshareAndPin(dir string, missing []int, options *NamespaceOptions) error {
	for _, i := range missing {
		kind := namespaceKinds[i]
		if err := unix.Unshare(kind.flag); err != nil {
			return fmt.Errorf("new %s namespace: %w", kind.name, err)
		}
		var err error
		switch {
		case kind.name == "net":
			err = errors.Join(loopbackUp(), options.setSysctls(func(name string) bool { return strings.HasPrefix(name, "net.") }))
		case kind.name == "ipc":
			err = options.setSysctls(func(name string) bool { return !strings.HasPrefix(name, "net.") })
		case kind.name == "uts" && options.Hostname != "":
			err = unix.Sethostname([]byte(options.Hostname))
		}
		if err != nil {
			return fmt.Errorf("set up the %s namespace: %w", kind.name, err)
		}
		if err := pin("/proc/thread-self/ns/"+kind.name, filepath.Join(dir, kind.name)); err != nil {
			return err
		}
	}
	return nil
}

// setSysctls sets the chosen parameters in the current thread's namespaces, which are those that its /proc/sys shows.
func (o *NamespaceOptions) setSysctls(chosen func(name string) bool) error {
	for name, value := range o.Defaults {
		if chosen(name) {
			if err := setSysctl(name, value); err != nil && !errors.Is(err, unix.EROFS) && !errors.Is(err, unix.ENOENT) {
				return err
			}
		}
	}
	for name, value := range o.Sysctls {
		if chosen(name) {
			if err := setSysctl(name, value); err != nil {
				return err
			}
		}
	}
	return nil
}

func setSysctl(name, value string) error {
	swap := strings.NewReplacer(".", "/", "/", ".")
	path := swap.Replace(name)
	if !filepath.IsLocal(path) {
		return fmt.Errorf("%q is not the name of a sysctl", name)
	}
	f, err := os.OpenFile(filepath.Join("/proc/sys", path), os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("sysctl %s: %w", name, err)
	}
	_, err = f.WriteString(value)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("sysctl %s = %q: %w", name, value, err)
	}
	return nil
}

func loopbackUp() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("loopback interface: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("loopback interface: %w", err)
	}
	return nil
}

// pin bind-mounts a namespace on a file that it makes.
func pin(namespace, path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|unix.O_NOFOLLOW, 0o444)
	if err != nil {
		return err
	}
	f.Close()
	if err := unix.Mount(namespace, path, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s: %w", path, err)
	}
	return nil
}

// isNamespace says whether a namespace is mounted on path.
func isNamespace(path string) bool {
	var fs unix.Statfs_t
	return unix.Statfs(path, &fs) == nil && fs.Type == unix.NSFS_MAGIC
}

// UnpinNamespaces releases what PinNamespaces pinned in dir, and removes dir. The namespaces end when no process is left in them. It
// is no error when there is nothing.
func UnpinNamespaces(dir string) error {
	var errs []error
	for _, kind := range namespaceKinds {
		path := filepath.Join(dir, kind.name)
		for isNamespace(path) {
			if err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
				errs = append(errs, fmt.Errorf("unpin %s: %w", path, err))
				break
			}
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
