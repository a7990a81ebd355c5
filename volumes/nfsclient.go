// SPDX-License-Identifier: Apache-2.0

package volumes

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// nfsClient is that of the Linux kernel, without the programs of nfs-utils: what
// mount.nfs does for NFSv4 is to look up the server's address and to try versions. See
// nfs(5) for the options, and Documentation/filesystems/mount_api.rst in Linux.
type nfsClient struct{}

// nfsVersions are tried in this order when the options say none. Version 3 needs
// daemons beside the kernel, so who wants it has to say it.
var nfsVersions = []string{"4.2", "4.1", "4.0"}

// dialPatience is how long a server may take to accept a connection. The kernel itself
// would wait for minutes.
const dialPatience = 10 * time.Second

// CanMountNFS is why this machine cannot mount nfs volumes, nil when it can. The kernel
// loads its module if there is one.
func CanMountNFS() error {
	fd, err := openNFS()
	if err == nil {
		err = unix.Close(fd)
	}
	return err
}

func openNFS() (int, error) {
	fd, err := unix.Fsopen("nfs", unix.FSOPEN_CLOEXEC)
	if errors.Is(err, unix.ENODEV) {
		return -1, errors.New("the kernel of this node has no NFS client (module nfs): install it, or use another type of volume")
	}
	if err != nil {
		return -1, fmt.Errorf("fsopen nfs: %w", err)
	}
	return fd, nil
}

func (nfsClient) mount(ctx context.Context, source NFS) (int, error) {
	if err := CanMountNFS(); err != nil {
		return -1, err
	}
	o, err := readNFSOptions(source)
	if err != nil {
		return -1, err
	}
	address, err := reach(ctx, source.Server, o)
	if err != nil {
		return -1, err
	}
	versions := nfsVersions
	if o.hasVersion {
		versions = []string{""}
	}
	for _, version := range versions {
		var tree int
		tree, err = mountNFS(source, o, address, version)
		if !errors.Is(err, unix.EPROTONOSUPPORT) && !errors.Is(err, unix.EINVAL) {
			return tree, err
		}
	}
	if !o.hasVersion && errors.Is(err, unix.EPROTONOSUPPORT) {
		err = fmt.Errorf("%w: the server speaks no NFSv4; a PersistentVolume with mountOptions [vers=3, nolock] can ask for NFSv3 without locks", err)
	}
	return -1, err
}

// reach finds an address of the server that takes connections.
func reach(ctx context.Context, server string, o nfsOptions) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, dialPatience)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupHost(ctx, server)
	if err != nil {
		return "", err
	}
	if !o.tcp {
		return addresses[0], nil
	}
	for _, address := range addresses {
		var c net.Conn
		if c, err = new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(address, o.port)); err == nil {
			return address, c.Close()
		}
	}
	return "", err
}

// mountNFS makes a mount that is attached nowhere; version may be among the options.
func mountNFS(source NFS, o nfsOptions, address, version string) (int, error) {
	fd, err := openNFS()
	if err != nil {
		return -1, err
	}
	defer unix.Close(fd)
	set := func(key, value string) {
		switch {
		case err != nil:
		case value == "":
			err = unix.FsconfigSetFlag(fd, key)
		default:
			err = unix.FsconfigSetString(fd, key, value)
		}
		if err != nil {
			err = fmt.Errorf("mount option %s: %w", strings.TrimSuffix(key+"="+value, "="), err)
		}
	}
	set("source", source.device())
	if version != "" {
		set("vers", version)
	}
	set("addr", address)
	for _, option := range o.kernel {
		if err == nil {
			key, value, _ := strings.Cut(option, "=")
			set(key, value)
		}
	}
	if err == nil {
		err = unix.FsconfigCreate(fd)
	}
	if err != nil {
		return -1, explained(fd, err)
	}
	return unix.Fsmount(fd, unix.FSMOUNT_CLOEXEC, o.attributes)
}

// explained adds what the kernel says of its error.
func explained(fd int, err error) error {
	buf := make([]byte, 1024)
	n, readErr := unix.Read(fd, buf)
	if readErr != nil || n <= 0 {
		return err
	}
	_, text, _ := strings.Cut(strings.TrimSpace(string(buf[:n])), " ") // after e, w or i
	return fmt.Errorf("%w (%s)", err, text)
}

// nfsOptions are a volume's mount options, sorted by who takes them.
type nfsOptions struct {
	kernel     []string // of the file system
	attributes int      // of the mount, MOUNT_ATTR_…
	hasVersion bool
	tcp        bool
	port       string
}

// mountAttributes are the options that are the mount's, in every file system. Those
// without an effect here are mount(8)'s own, or what is so anyway.
var mountAttributes = map[string]int{
	"nosuid": unix.MOUNT_ATTR_NOSUID, "nodev": unix.MOUNT_ATTR_NODEV, "noexec": unix.MOUNT_ATTR_NOEXEC, "nodiratime": unix.MOUNT_ATTR_NODIRATIME,
	"noatime": unix.MOUNT_ATTR_NOATIME, "strictatime": unix.MOUNT_ATTR_STRICTATIME, "relatime": unix.MOUNT_ATTR_RELATIME,
	"suid": 0, "dev": 0, "exec": 0, "rw": 0, "defaults": 0, "_netdev": 0, "nofail": 0,
}

func readNFSOptions(source NFS) (nfsOptions, error) {
	o := nfsOptions{tcp: true, port: "2049"}
	for _, option := range source.Options {
		key, value, _ := strings.Cut(option, "=")
		switch attribute, known := mountAttributes[option]; {
		case known:
			o.attributes |= attribute
			continue
		case option == "ro":
			source.ReadOnly = true
			continue
		case strings.ContainsAny(option, ",\x00") || key == "" || key == "source" || key == "addr":
			return o, fmt.Errorf("mount option %q is not one that can be given", option)
		case key == "vers" || key == "nfsvers" || key == "minorversion" || slices.Contains([]string{"v3", "v4", "v4.0", "v4.1", "v4.2"}, key):
			o.hasVersion = true
		case key == "proto":
			o.tcp = value == "tcp" || value == "tcp6"
		case key == "udp" || key == "rdma":
			o.tcp = false
		case key == "port":
			o.port = value
		}
		o.kernel = append(o.kernel, option)
	}
	if source.ReadOnly {
		o.kernel = append(o.kernel, "ro")
		o.attributes |= unix.MOUNT_ATTR_RDONLY
	}
	return o, nil
}

func (nfsClient) unmount(path string, flags int) error {
	return withParent(path, func(name string) error {
		err := unix.Unmount(name, unix.UMOUNT_NOFOLLOW|flags)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) { // somebody else has unmounted it
			return nil
		}
		return err
	})
}
