// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// logOwner is a file in the log directory of each Pod. A kubelet or another agent may
// use the same log directory, and with the store lost nothing else tells whose Pod
// that was: it says so by the directory of our Pods, which no other agent can have.
const logOwner = ".minikubelet-owner"

// claimLogs makes a Pod's log directory and marks it as ours.
func (m *Manager) claimLogs(pod *corev1.Pod) error {
	dir := m.facts.logDir(pod)
	if m.ownsLogs(dir) {
		return nil
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return os.WriteFile(filepath.Join(dir, logOwner), []byte(m.cfg.PodsDir+"\n"), 0o644)
}

func (m *Manager) ownsLogs(dir string) bool {
	owner := readEnd(filepath.Join(dir, logOwner), 4096)
	return owner == m.cfg.PodsDir+"\n"
}

// ownLogs are the Pods whose log directories are marked as ours.
func (m *Manager) ownLogs() []*corev1.Pod {
	var pods []*corev1.Pod
	for _, name := range entries(m.cfg.LogDir) {
		words := strings.Split(name, "_") // which no name and no UID has
		if len(words) != 3 || words[2] == "" || !m.ownsLogs(filepath.Join(m.cfg.LogDir, name)) {
			continue
		}
		pod := new(corev1.Pod)
		pod.Namespace, pod.Name, pod.UID = words[0], words[1], types.UID(words[2])
		pods = append(pods, pod)
	}
	return pods
}

// removeLogs removes the Pod's log directory; without the Pod's name it is found
// by the UID at its end.
func (m *Manager) removeLogs(pod *corev1.Pod) error {
	for _, name := range entries(m.cfg.LogDir) {
		if strings.HasSuffix(name, "_"+string(pod.UID)) {
			if err := os.RemoveAll(filepath.Join(m.cfg.LogDir, name)); err != nil {
				return err
			}
		}
	}
	return nil
}
