// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/mount"
	"golang.org/x/sys/unix"
)

// loopDevice is a block device of 4 MiB that begins with a line; it goes with the test.
func loopDevice(t *testing.T, line string) string {
	t.Helper()
	backing := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(backing, append([]byte(line+"\n"), make([]byte, 4<<20)...), 0o600); err != nil {
		t.Fatal(err)
	}
	// Who opens it has the kernel load the module; where udev has not made it, nobody could.
	if err := unix.Mknod("/dev/loop-control", unix.S_IFCHR|0o600, int(unix.Mkdev(10, 237))); err != nil && !errors.Is(err, unix.EEXIST) {
		t.Skip(err)
	}
	device, err := mount.AttachLoopDevice(backing)
	if err != nil {
		t.Skipf("this machine gives no loop device: %v", err)
	}
	t.Cleanup(func() {
		if err := mount.DetachLoopDevice(device); err != nil {
			t.Error(err)
		}
	})
	return device
}

func blockVolume(name, source string) string {
	return "apiVersion: v1\nkind: PersistentVolume\nmetadata: {name: " + name + "}\n" +
		"spec: {capacity: {storage: 1Mi}, accessModes: [ReadWriteOnce], volumeMode: Block, storageClassName: disks, " + source + ",\n" +
		"  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: Exists}]}]}}}\n"
}

// TestBlockDevices: a container has a claim's device where it asks for it and may do
// with it what the claim says, again after a restart of the agent, and no other device.
func TestBlockDevices(t *testing.T) {
	kubectlPath(t)
	device := loopDevice(t, "hello")
	link := filepath.Join(t.TempDir(), "by-id")
	if err := os.Symlink(device, link); err != nil {
		t.Fatal(err)
	}
	n := startNode(t)
	n.applied("apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: disks}\nprovisioner: kubernetes.io/no-provisioner\nvolumeBindingMode: WaitForFirstConsumer\n")
	n.applied(blockVolume("disk", "local: {path: "+link+"}"))
	n.applied(claim("data", "ReadWriteOnce", ", storageClassName: disks, volumeMode: Block"))
	n.awaitEvent("data", "WaitForFirstConsumer: waiting for first consumer to be created before binding")

	const use = "volumeDevices: [{name: v, devicePath: /dev/data}]"
	var major, minor uint32
	if _, err := fmt.Sscanf(readString(t, "/sys/block/"+filepath.Base(device)+"/dev"), "%d:%d", &major, &minor); err != nil {
		t.Fatal(err)
	}
	other := minor + 1
	script := "head -n 1 /dev/data; stat -c '%F %t %T' /dev/data; " +
		fmt.Sprintf("mknod /other b %d %d && (cat /other) 2>&1 | grep -o 'Operation not permitted'; ", major, other)
	n.applied(podOf("writer", "restartPolicy: Always", mounts("data"), apps(sh("a", script+"echo written >/dev/data; echo looked; "+forever, use), sh("none", "test -e /dev/data || echo none; echo looked; "+forever))))
	n.applied(podOf("reader", "restartPolicy: Always", "volumes: [{name: v, persistentVolumeClaim: {claimName: data, readOnly: true}}]",
		apps(sh("a", "until head -n 1 /dev/data | grep -q written; do sleep 0.1; done; (echo no >/dev/data) 2>&1 | grep -o 'Operation not permitted'; head -n 1 /dev/data; echo looked; "+forever, use))))
	writer := n.awaitRunning("writer")
	n.saysLine(writer, "a", 0, "looked")
	want := []string{"hello", fmt.Sprintf("block special file %x %x", major, minor), "Operation not permitted", "looked"}
	if got := n.log(writer, "a", 0); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	n.saysLine(writer, "none", 0, "looked")
	if got := n.log(writer, "none", 0); got[0] != "none" {
		t.Errorf("a container without the device has it: %q", got)
	}
	reader := n.awaitRunning("reader")
	n.saysLine(reader, "a", 0, "looked")
	if got, want := n.log(reader, "a", 0), []string{"Operation not permitted", "written", "looked"}; !slices.Equal(got, want) {
		t.Errorf("read-only: %q, want %q", got, want)
	}
	n.kill()
	n.start()
	n.killContainer(writer, "a")
	n.saysLine(writer, "a", 1, "written")

	// What cannot be.
	n.applied(podOf("mounted", mounts("data"), apps(sh("a", forever, onV))))
	n.told("mounted", "FailedMount: Unable to attach or mount volumes: unmounted volumes=[v], unattached volumes=[], failed to process volumes=[v]: volume v has volumeMode Block, but is specified in volumeMounts")
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	n.applied(blockVolume("nodisk", "local: {path: "+file+"}"))
	n.applied(claim("nodata", "ReadWriteOnce", ", storageClassName: disks, volumeMode: Block, volumeName: nodisk"))
	n.applied(podOf("nodisk", mounts("nodata"), apps(sh("a", forever, use))))
	n.told("nodisk", `FailedMapVolume: MapVolume.MapBlockVolume failed for volume "nodisk" : `+file+" is not a block device")
	n.applied(claim("made", "ReadWriteOnce", ", storageClassName: local-path, volumeMode: Block"))
	n.applied(podOf("made", mounts("made"), apps(sh("a", forever, use))))
	n.awaitEvent("made", `ProvisioningFailed: failed to provision volume with StorageClass "local-path": volumeMode Block is not supported`)
	n.kubectl("delete", "pods", "--all", "--wait=false")
	for _, name := range []string{"writer", "reader", "mounted", "nodisk", "made"} {
		n.awaitGone(name)
	}
	if got := readString(t, device); !strings.HasPrefix(got, "written\n") {
		t.Errorf("the device has %q", got[:20])
	}
}

func readString(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
