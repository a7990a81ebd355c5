// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/minikubelet/minikubelet/volumes"
)

const nfsd = "/proc/fs/nfsd"

// serveNFS exports a directory as the root of NFSv4, to 127.0.0.1 alone, by the
// kernel's server. What rpc.mountd answers when the kernel asks is told it beforehand,
// so that no daemon is needed; see nfsd(7). The returned function ends the server.
func serveNFS(t *testing.T, dir string) (end func()) {
	t.Helper()
	if err := volumes.CanMountNFS(); err != nil {
		t.Skip(err)
	}
	if _, err := os.Stat(nfsd + "/threads"); err != nil {
		if err := unix.Mount("nfsd", nfsd, "nfsd", 0, ""); err != nil {
			t.Skipf("this kernel has no NFS server (module nfsd): %v", err)
		}
		t.Cleanup(func() { _ = unix.Unmount(nfsd, 0) })
	}
	if got := readString(t, nfsd+"/threads"); got != "0\n" {
		t.Skip("this machine has an NFS server already")
	}
	tell := func(file, format string, args ...any) {
		t.Helper()
		f, err := os.OpenFile(file, os.O_WRONLY, 0)
		if err == nil {
			_, err = fmt.Fprintf(f, format+"\n", args...)
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
	}
	var plain net.ListenConfig
	plain.SetMultipathTCP(false) // the server takes TCP alone
	l, err := plain.Listen(t.Context(), "tcp", "127.0.0.1:2049")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	socket, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	const noSubtreeCheck, fsid, insecure = 0x400, 0x2000, 0x2
	later := time.Now().Add(24 * time.Hour).Unix()
	tell(nfsd+"/versions", "-3 +4 +4.1 +4.2")
	// For so long nobody can open a file: clients of before a reboot might come back.
	tell(nfsd+"/nfsv4leasetime", "10")
	tell(nfsd+"/nfsv4gracetime", "10")
	tell(nfsd+"/portlist", "%d", socket.Fd())
	tell("/proc/net/rpc/auth.unix.ip/channel", "nfsd 127.0.0.1 %d testers", later)
	tell("/proc/net/rpc/nfsd.fh/channel", `testers 1 \x00000000 %d %s`, later, dir)
	tell("/proc/net/rpc/nfsd.export/channel", "testers %s %d %d 65534 65534 0", dir, later, noSubtreeCheck|fsid|insecure)
	tell(nfsd+"/threads", "2")
	end = sync.OnceFunc(func() {
		tell(nfsd+"/threads", "0")
		for _, cache := range []string{"nfsd.fh", "nfsd.export", "auth.unix.ip"} {
			tell("/proc/net/rpc/"+cache+"/flush", "%d", later)
		}
	})
	t.Cleanup(end)
	return end
}

// TestNFSVolumes: Pods share a directory of a server, by themselves and by a claim,
// over the agent's death; a server that does not answer holds up nobody else, and one
// that is gone does not keep a Pod from going.
func TestNFSVolumes(t *testing.T) {
	kubectlPath(t)
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	if err := errors.Join(os.Mkdir(data, 0o777), os.Chmod(data, 0o777), os.WriteFile(filepath.Join(data, "k"), []byte("one\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	end := serveNFS(t, dir)
	silent, err := net.Listen("tcp", "127.0.0.2:2049")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()

	n := startNode(t)
	volume := func(server, more string) string {
		return "volumes: [{name: v, nfs: {server: " + server + ", path: /data" + more + "}}]"
	}
	n.applied(podOf("silent", volume("127.0.0.2", ""), apps(sh("a", forever, onV))))
	n.applied("apiVersion: v1\nkind: PersistentVolume\nmetadata: {name: shared}\nspec: {capacity: {storage: 1Gi}, accessModes: [ReadWriteMany], storageClassName: shared, " +
		"mountOptions: [vers=4.1, nosuid], nfs: {server: localhost, path: /data}}\n")
	n.applied(claim("shared", "ReadWriteMany", ", storageClassName: shared"))
	look := "cat /v/k; grep ' /v nfs4 ' /proc/mounts | grep -o 'vers=4.[0-9]\\|,nosuid'; "
	n.applied(podOf("writer", volume("127.0.0.1", ""), apps(sh("a", look+"echo two >/v/sub; echo looked; "+forever, onV))))
	n.applied(podOf("claimer", mounts("shared"), apps(sh("a", look+"until test -e /v/sub; do sleep 1; done; cat /one; echo looked; "+forever,
		"volumeMounts: [{name: v, mountPath: /v}, {name: v, mountPath: /one, subPath: k}]"))))
	n.applied(podOf("reader", volume("127.0.0.1", ", readOnly: true"), apps(sh("a", "(echo no >/v/k) 2>&1 | grep -o 'Read-only file system'; cat /v/k; echo looked; "+forever, onV))))
	for name, want := range map[string][]string{
		"writer": {"one", "vers=4.2", "looked"}, "claimer": {"one", ",nosuid", "vers=4.1", "one", "looked"}, "reader": {"Read-only file system", "one", "looked"},
	} {
		pod := n.awaitRunning(name)
		n.saysLine(pod, "a", 0, "looked")
		if got := n.log(pod, "a", 0); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if got := readString(t, filepath.Join(data, "sub")); got != "two\n" {
		t.Errorf("the server has %q", got)
	}
	n.told("silent", `FailedMount: MountVolume.SetUp failed for volume "v" : mount 127.0.0.2:/data: the server has not answered within 30s`)
	n.applied(podOf("nowhere", volume("127.0.0.3", ""), apps(sh("a", forever, onV))))
	n.told("nowhere", `FailedMount: MountVolume.SetUp failed for volume "v" : mount 127.0.0.3:/data: dial tcp 127.0.0.3:2049: connect: connection refused`)
	n.kubectl("delete", "pods", "silent", "nowhere", "reader", "--wait=false")
	for _, name := range []string{"silent", "nowhere", "reader"} {
		n.awaitGone(name)
	}

	n.kill()
	n.start()
	n.killContainer(n.awaitRunning("claimer"), "a")
	claimer := n.awaitRunning("claimer")
	n.saysLine(claimer, "a", 1, "looked")
	n.kubectl("exec", "writer", "--", "sh", "-c", "echo unwritten >/v/late")
	end()
	n.kubectl("delete", "pods", "writer", "claimer", "--wait=false")
	n.awaitGone("writer")
	n.awaitGone("claimer")
	if infos := readString(t, "/proc/self/mountinfo"); strings.Contains(infos, " - nfs4 ") {
		t.Errorf("mounts are left:\n%s", infos)
	}
}

// TestWithoutNFSClient: the Pod waits and is told what is missing.
func TestWithoutNFSClient(t *testing.T) {
	kubectlPath(t)
	missing := volumes.CanMountNFS()
	if missing == nil {
		t.Skip("this kernel has an NFS client")
	}
	n := startNode(t)
	n.applied(podOf("waits", "volumes: [{name: v, nfs: {server: 127.0.0.1, path: /data}}]", apps(sh("a", forever, onV))))
	n.told("waits", `FailedMount: MountVolume.SetUp failed for volume "v" : mount 127.0.0.1:/data: `+missing.Error())
	n.kubectl("delete", "pod", "waits")
	n.awaitGone("waits")
}
