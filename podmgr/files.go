// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/minikubelet/minikubelet/network"
	"github.com/minikubelet/minikubelet/runtime"
	"github.com/minikubelet/minikubelet/runtime/crilog"
)

const (
	// terminationMax is what a termination message may have, in bytes.
	// https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/
	terminationMax = 4096
	// fallbackBytes and fallbackLines bound the log's tail that stands in for it.
	fallbackBytes, fallbackLines = 2048, 80
	// shmSize is the size of a Pod's /dev/shm, as in every CRI runtime.
	shmSize = "64m"
)

// LogDir is where a Pod's container logs are, in the kubelet's layout.
func LogDir(root string, pod *corev1.Pod) string {
	return filepath.Join(root, pod.Namespace+"_"+pod.Name+"_"+string(pod.UID))
}

// LogFile is where the log of a container's attempt is.
func LogFile(root string, pod *corev1.Pod, container string, attempt int) string {
	return filepath.Join(LogDir(root, pod), container, strconv.Itoa(attempt)+".log")
}

// writeFiles makes the files that all containers share. They are bind-mounted, so
// later changes are written in place.
func (w *worker) writeFiles(pod *corev1.Pod) error {
	dir := w.podDir(pod)
	host, err := network.ReadHostDNS(w.ResolvConf)
	if err != nil {
		return err
	}
	conf, warnings := network.ResolvConf(&pod.Spec, host)
	for _, warning := range warnings {
		w.event(pod, "", corev1.EventTypeWarning, "DNSConfigForming", warning)
	}
	hostname, err := w.kernelHostname(pod)
	if err != nil {
		return sandboxConfigError(pod, err)
	}
	for name, data := range map[string][]byte{"resolv.conf": conf, "hostname": []byte(hostname + "\n")} {
		if err := writeInPlace(filepath.Join(dir, name), data); err != nil {
			return err
		}
	}
	if err := ensureFile(filepath.Join(dir, "etc-hosts"), 0o644); err != nil {
		return err
	}
	return w.mountShm(pod)
}

// writeHosts writes the Pod's /etc/hosts once its addresses are known.
func (w *worker) writeHosts(pod *corev1.Pod, ips []netip.Addr) error {
	name, domain := w.hostname(pod)
	data, err := hostsFile(pod, ips, name, domain)
	if err != nil {
		return err
	}
	return writeInPlace(filepath.Join(w.podDir(pod), "etc-hosts"), data)
}

func hostsFile(pod *corev1.Pod, ips []netip.Addr, hostname, domain string) ([]byte, error) {
	if pod.Spec.HostNetwork {
		host, err := os.ReadFile("/etc/hosts")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		return network.HostNetworkHostsFile(host, pod.Spec.HostAliases), nil
	}
	return network.HostsFile(ips, hostname, domain, pod.Spec.HostAliases), nil
}

// mountShm makes the tmpfs that the Pod's containers share as /dev/shm. It is
// there once, however often it is asked for.
func (w *worker) mountShm(pod *corev1.Pod) error {
	if pod.Spec.HostIPC {
		return nil
	}
	dir := w.shmDir(pod)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if mounted, err := isTmpfs(dir); err != nil || mounted {
		return err
	}
	if err := unix.Mount("shm", dir, "tmpfs", unix.MS_NOEXEC|unix.MS_NOSUID|unix.MS_NODEV, "mode=1777,size="+shmSize); err != nil {
		return fmt.Errorf("mount the Pod's /dev/shm: %w", err)
	}
	return nil
}

const tmpfsMagic = 0x01021994

// isTmpfs tells whether a directory of ours is a mounted tmpfs; what is above it
// may be a tmpfs too, so the device is compared.
func isTmpfs(dir string) (bool, error) {
	var here, above unix.Stat_t
	var fsinfo unix.Statfs_t
	if err := errors.Join(unix.Stat(dir, &here), unix.Stat(filepath.Dir(dir), &above), unix.Statfs(dir, &fsinfo)); err != nil {
		return false, err
	}
	return here.Dev != above.Dev && fsinfo.Type == tmpfsMagic, nil
}

// makeTerminationFile makes the file that takes one attempt's termination message.
func (w *worker) makeTerminationFile(pod *corev1.Pod, name, id string) error {
	path := w.terminationFile(string(pod.UID), name, id)
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	return ensureFile(path, 0o666)
}

// terminationMessage reads what an ended container left: its message file or,
// when its policy says so and it failed, the end of its log.
func (w *worker) terminationMessage(pod *corev1.Pod, s *runtime.Status) string {
	w.mu.Lock()
	message, ok := w.messages[s.ID]
	w.mu.Unlock()
	if ok {
		return message
	}
	message = readEnd(w.terminationFile(w.uid, s.Name, s.ID), terminationMax)
	c, _ := containerOf(pod, s.Name)
	if message == "" && s.ExitCode != 0 && c != nil && c.TerminationMessagePolicy == corev1.TerminationMessageFallbackToLogsOnError {
		message = w.logTail(pod, s)
	}
	w.mu.Lock()
	w.messages[s.ID] = message
	w.mu.Unlock()
	return message
}

// readEnd reads the last bytes, limit at most, of a regular file that a container may
// have written; it follows no link and blocks on nothing.
func readEnd(path string, limit int64) string {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return ""
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return ""
	}
	from := max(info.Size()-limit, 0)
	data, _ := io.ReadAll(io.NewSectionReader(f, from, limit))
	if from > 0 { // what is left of a character is none
		for len(data) > 0 && !utf8.RuneStart(data[0]) {
			data = data[1:]
		}
	}
	return strings.ToValidUTF8(string(data), "\uFFFD")
}

func (w *worker) logTail(pod *corev1.Pod, s *runtime.Status) string {
	path := LogFile(w.LogDir, pod, s.Name, s.Attempt)
	var out lastBytes // a line may be as long as the log
	tail := int64(fallbackLines)
	if err := crilog.Copy(context.Background(), path, crilog.Options{Tail: &tail}, crilog.Format{}, &out, &out); err != nil {
		return ""
	}
	return strings.ToValidUTF8(string(out), "\uFFFD")
}

// lastBytes keeps the last fallbackBytes of what is written to it.
type lastBytes []byte

func (l *lastBytes) Write(p []byte) (int, error) {
	*l = append(*l, p[max(0, len(p)-fallbackBytes):]...)
	*l = append((*l)[:0], (*l)[max(0, len(*l)-fallbackBytes):]...)
	return len(p), nil
}

// removeContainerFiles removes the log and the termination message of one attempt.
func (w *worker) removeContainerFiles(pod *corev1.Pod, s runtime.Status) error {
	log := LogFile(w.LogDir, pod, s.Name, s.Attempt)
	rotated, err := crilog.Rotated(log)
	if err != nil {
		return err
	}
	for _, path := range append(rotated, log, w.terminationFile(w.uid, s.Name, s.ID)) {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// ensureFile makes an empty file with exactly this mode if there is none.
func ensureFile(path string, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|unix.O_NOFOLLOW, mode)
	if err != nil {
		return err
	}
	return errors.Join(f.Chmod(mode), f.Close())
}

// writeInPlace keeps the inode, which containers have mounted.
func writeInPlace(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}
