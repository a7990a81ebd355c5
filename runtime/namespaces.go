// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
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
	// IDs are the users and groups of the machine that a user namespace of the Pod's has as its own, see IDRanges. The other
	// namespaces then belong to it, which gives the Pod's root its rights over them. Size 0: the Pod is in the host's.
	IDs specs.LinuxIDMapping
}

// Namespaces are the paths by which containers, and the network's set-up, find a Pod's namespaces. A path is empty when the Pod
// shares the host's.
type Namespaces struct {
	Net, IPC, UTS, User string
	// IDs are those of User.
	IDs specs.LinuxIDMapping
}

// kinds of namespaces in the order in which they are made; name is that below /proc/self/ns.
var namespaceKinds = [...]struct {
	name string
	flag int
}{{"net", unix.CLONE_NEWNET}, {"ipc", unix.CLONE_NEWIPC}, {"uts", unix.CLONE_NEWUTS}}

// PinNamespaces makes the namespaces that options asks for and keeps them alive by bind mounts in dir, which it makes too. The
// loopback interface of a new network namespace is up. What an earlier call has pinned there is kept as it is, so the call can be
// repeated after a crash; with a user namespace either all of them are kept, or all are made anew. On error, what this call pinned is
// unpinned by UnpinNamespaces.
func PinNamespaces(dir string, options NamespaceOptions) (Namespaces, error) {
	result := NamespacePaths(dir, options)
	wanted := map[string]string{"net": result.Net, "ipc": result.IPC, "uts": result.UTS}
	var missing []int
	for i, kind := range namespaceKinds {
		if path := wanted[kind.name]; path != "" && !isNamespace(path) {
			missing = append(missing, i)
		}
	}
	if len(missing) == 0 && (result.User == "" || isNamespace(result.User)) {
		return result, nil
	}
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return Namespaces{}, fmt.Errorf("pin namespaces: %w", err)
	}
	make := unshareAndPin
	if options.IDs.Size > 0 {
		make = makeOwnedAndPin
	}
	if err := onOwnThread(func() error { return make(dir, missing, &options) }); err != nil {
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
	return Namespaces{
		Net: path(options.Net, "net"), IPC: path(options.IPC, "ipc"), UTS: path(options.UTS, "uts"),
		User: path(options.IDs.Size > 0, userPin(options.IDs)), IDs: options.IDs,
	}
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
		if err := options.setUpAndPin(dir, kind.name); err != nil {
			return err
		}
	}
	return nil
}

// setUpAndPin sets up the namespace of a kind that the current thread is in, and pins it.
func (o *NamespaceOptions) setUpAndPin(dir, kind string) error {
	var err error
	switch {
	case kind == "net":
		err = errors.Join(loopbackUp(), o.setSysctls(func(name string) bool { return strings.HasPrefix(name, "net.") }))
	case kind == "ipc":
		err = o.asOwner(func() error {
			return o.setSysctls(func(name string) bool { return !strings.HasPrefix(name, "net.") })
		})
	case kind == "uts" && o.Hostname != "":
		err = unix.Sethostname([]byte(o.Hostname))
	}
	if err != nil {
		return fmt.Errorf("set up the %s namespace: %w", kind, err)
	}
	return pin("/proc/thread-self/ns/"+kind, filepath.Join(dir, kind))
}

// setSysctls sets the chosen parameters in the current thread's namespaces, which are those that its /proc/sys shows.
func (o *NamespaceOptions) setSysctls(chosen func(name string) bool) error {
	for name, value := range o.Defaults {
		if chosen(name) {
			if err := setSysctl(name, o.IDs, value); err != nil && !errors.Is(err, unix.EROFS) && !errors.Is(err, unix.ENOENT) {
				return err
			}
		}
	}
	for name, value := range o.Sysctls {
		if chosen(name) {
			if err := setSysctl(name, o.IDs, value); err != nil {
				return err
			}
		}
	}
	return nil
}

func setSysctl(name string, ids specs.LinuxIDMapping, value string) error {
	if name == groupsSysctl && ids.Size > 0 {
		value = hostGroups(value, ids)
	}
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

// UnpinNamespaces releases what PinNamespaces pinned in dir, and removes dir, by which the Pod's IDs are free again. The namespaces end
// when no process is left in them. It is no error when there is nothing.
func UnpinNamespaces(dir string) error {
	if err := unpinAll(dir); err != nil {
		return err
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// unpinAll leaves an empty directory.
func unpinAll(dir string) error {
	pins, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	var errs []error
	for _, p := range pins {
		path := filepath.Join(dir, p.Name())
		if err := release(path); err != nil {
			errs = append(errs, err)
		} else if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// release unmounts the namespaces that are pinned at path.
func release(path string) error {
	for isNamespace(path) {
		if err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			return fmt.Errorf("unpin %s: %w", path, err)
		}
	}
	return nil
}
