// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/minikubelet/minikubelet/api"
	"github.com/minikubelet/minikubelet/apiserver"
	"github.com/minikubelet/minikubelet/podmgr"
	"github.com/minikubelet/minikubelet/store"
)

// Annotations of Pods that come from files: the kubelet's names, and the file.
const (
	annotationSource = "kubernetes.io/config.source"
	annotationHash   = "kubernetes.io/config.hash"
	annotationSeen   = "kubernetes.io/config.seen"
	annotationMirror = "kubernetes.io/config.mirror"
	annotationFile   = "minikubelet/manifest"
	// annotationAutomatic marks what the node makes by itself.
	annotationAutomatic = "minikubelet/automatic"
)

// settle is how long a directory must be quiet before it is read: editors and
// copies write in several steps.
const settle = 20 * time.Millisecond

// readAgain is how long a file that cannot be read waits for the next try. Nothing
// tells when what keeps it is over: files that are open, a disk, the target of a link.
// It is the kubelet's --file-check-frequency.
const readAgain = 20 * time.Second

// manifests keeps the store's Pods, and what they use, as the files of a directory say. A broken file
// changes nothing: its last good version, or what the store has of it, stays.
type manifests struct {
	dir   string
	node  string
	store *store.Store
	log   *slog.Logger
	// anew says which Pods are made anew at the first look; nil from then on.
	anew func(*corev1.Pod) bool

	good   map[string]manifestFile // last good version by path
	told   map[string]string       // what was last reported by path, to tell it once
	broken map[string]bool

	readAgain  time.Duration
	unreadable bool // there is a file that could not be read
}

// manifestFile is what a file said when it was last readable.
type manifestFile struct {
	state   fileState
	pods    []*corev1.Pod
	objects []fileObject
}

// fileState differs when a file was written or replaced. It has the time of the inode's
// change too, which nobody can set: a copy may keep the size and the content's time.
type fileState struct {
	inode            uint64
	size             int64
	written, changed unix.Timespec
}

func newManifests(dir, node string, s *store.Store, anew func(*corev1.Pod) bool, log *slog.Logger) *manifests {
	return &manifests{
		dir: dir, node: node, store: s, anew: anew, log: log,
		good: make(map[string]manifestFile), told: make(map[string]string), broken: make(map[string]bool), readAgain: readAgain,
	}
}

// run follows the directory until ctx ends.
func (m *manifests) run(ctx context.Context) error {
	if err := os.MkdirAll(m.dir, 0o755); err != nil {
		return fmt.Errorf("manifest directory: %w", err)
	}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch %s: %w", m.dir, err)
	}
	defer watcher.Close()
	gone := m.objectsGone(ctx)
	quiet := time.NewTimer(0)
	defer quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case event := <-watcher.Events:
			if event.Op != fsnotify.Chmod {
				quiet.Reset(settle)
			}
		case err := <-watcher.Errors: // events were lost: look at everything
			m.log.Warn("watching the manifest directory", "err", err)
			quiet.Reset(settle)
		case <-gone:
			quiet.Reset(0)
		case <-quiet.C:
			err := watcher.Add(m.dir) // again each time: it may be another directory of the same name
			if err == nil {
				err = m.look()
			}
			switch {
			case err != nil:
				m.log.Error("cannot bring the manifests into the store; it is tried again", "err", err)
				quiet.Reset(time.Second)
			case m.unreadable:
				quiet.Reset(m.readAgain)
			}
		}
	}
}

// look makes the store as the directory's files say. When the directory cannot be
// read, nothing is changed.
func (m *manifests) look() error {
	if err := m.read(); err != nil {
		return err
	}
	return m.sync()
}

// objectsGone signals that a Pod or another object that may be from a file left
// the store, so that its successor may come now, or that there is a class that Pods
// may name.
func (m *manifests) objectsGone(ctx context.Context) <-chan struct{} {
	watched := []string{podmgr.Pods}
	for _, kind := range api.ManifestKinds() {
		watched = append(watched, kind.Resource)
	}
	classes := []string{"priorityclasses", podmgr.RuntimeClasses}
	gone := make(chan struct{}, 1)
	go func() {
		w := m.store.Watch(store.All, m.store.Revision())
		defer func() { w.Close() }()
		for {
			e, err := w.Next(ctx)
			if errors.Is(err, store.ErrTooOld) {
				w.Close()
				w = m.store.Watch(store.All, m.store.Revision())
			} else if err != nil {
				return
			}
			if err != nil || e.Type == store.Deleted && slices.Contains(watched, e.Resource) || e.Type == store.Added && slices.Contains(classes, e.Resource) {
				select {
				case gone <- struct{}{}:
				default:
				}
			}
		}
	}()
	return gone
}

// isManifest takes *.yaml, *.yml and *.json, not hidden ones.
func isManifest(name string) bool {
	ext := filepath.Ext(name)
	return !strings.HasPrefix(name, ".") && (ext == ".yaml" || ext == ".yml" || ext == ".json")
}

// read reads the files that are new or changed and forgets those that are gone.
func (m *manifests) read() error {
	list, err := os.ReadDir(m.dir)
	if err != nil {
		return fmt.Errorf("manifest directory: %w", err)
	}
	m.unreadable = false
	there := make(map[string]bool)
	for _, entry := range list {
		if entry.IsDir() || !isManifest(entry.Name()) {
			continue
		}
		path := filepath.Join(m.dir, entry.Name())
		there[path] = true
		m.readFile(path)
	}
	for path := range m.good {
		if !there[path] {
			delete(m.good, path)
		}
	}
	for path := range m.told {
		if !there[path] {
			delete(m.told, path)
			delete(m.broken, path)
		}
	}
	return nil
}

func (m *manifests) readFile(path string) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // the open of a named pipe would wait for its writer
	if err != nil {
		m.unreadable = true
		m.tell(path, err.Error())
		return
	}
	defer f.Close()
	var stat unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &stat); err != nil {
		m.unreadable = true
		m.tell(path, fmt.Sprintf("%s: %v", path, err))
		return
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFREG {
		m.tell(path, path+": not a regular file")
		return
	}
	state := fileState{stat.Ino, stat.Size, stat.Mtim, stat.Ctim}
	if old, ok := m.good[path]; ok && !m.broken[path] && old.state == state {
		return
	}
	text := &noted{Reader: f}
	loaded := api.Load(path, text, m.node)
	if text.failed {
		m.unreadable = true
	}
	for _, warning := range loaded.Warnings {
		m.log.Warn(warning.Error())
	}
	if len(loaded.Problems) > 0 {
		var lines []string
		for _, p := range loaded.Problems {
			lines = append(lines, p.Error())
		}
		m.tell(path, strings.Join(lines, "\n"))
		return
	}
	file := manifestFile{state: state}
	for _, object := range loaded.Objects {
		if object.Pod == nil {
			file.objects = append(file.objects, fileObject{path, api.PodUID(m.node, path, object.Canonical), object})
			continue
		}
		file.pods = append(file.pods, m.staticPod(path, object))
	}
	m.good[path] = file
	delete(m.broken, path)
	delete(m.told, path)
}

// tell reports what is wrong with a file, once for each state of it.
func (m *manifests) tell(path, what string) {
	m.broken[path] = true
	if m.told[path] == what {
		return
	}
	m.told[path] = what
	for line := range strings.SplitSeq(what, "\n") {
		m.log.Error("manifest not used; what ran before goes on", "problem", line)
	}
}

// noted notes whether reading failed.
type noted struct {
	io.Reader
	failed bool
}

func (n *noted) Read(p []byte) (int, error) {
	c, err := n.Reader.Read(p)
	n.failed = n.failed || err != nil && err != io.EOF
	return c, err
}

// staticPod gives a manifest's Pod the name, UID and annotations by which the
// kubelet marks static Pods.
func (m *manifests) staticPod(path string, object api.Object) *corev1.Pod {
	pod := object.Pod.DeepCopy()
	pod.UID = api.PodUID(m.node, path, object.Canonical)
	pod.Name += "-" + m.node
	pod.Spec.NodeName = m.node
	if pod.Annotations == nil {
		pod.Annotations = make(map[string]string)
	}
	pod.Annotations[annotationSource] = "file"
	pod.Annotations[annotationHash] = string(pod.UID)
	pod.Annotations[annotationMirror] = string(pod.UID)
	pod.Annotations[annotationFile] = path
	return pod
}

// sync makes the store as the good files say, in the order of their paths: of several Pods
// that want the same of the node, the first one has it.
func (m *manifests) sync() error {
	stored, err := m.stored()
	if err != nil {
		return err
	}
	wanted := make(map[string]*corev1.Pod)
	var order []string
	paths := make([]string, 0, len(m.good))
	for path := range m.good {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	errs := []error{m.syncObjects(paths)}
	for _, path := range paths {
		for _, pod := range m.good[path].pods {
			key := pod.Namespace + "/" + pod.Name
			if other := wanted[key]; other != nil {
				m.tell(path, fmt.Sprintf("%s: pod %s is already in %s; the first one is used", path, key, other.Annotations[annotationFile]))
				continue
			}
			wanted[key] = pod
			order = append(order, key)
		}
	}
	for key, pod := range stored {
		if pod.Annotations[annotationSource] == "file" && wanted[key] == nil && !m.broken[pod.Annotations[annotationFile]] {
			errs = append(errs, m.end(pod, "its manifest is gone"))
		}
	}
	anew := m.anew
	for _, key := range order {
		pod := wanted[key]
		if old := stored[key]; anew != nil && old != nil && old.Annotations[annotationSource] == "file" && anew(old) {
			errs = append(errs, m.end(old, "the node's shutdown ended it; it starts anew"))
			continue
		}
		pod = pod.DeepCopy()
		if err := apiserver.ResolveClasses(m.store, pod); err != nil {
			path := pod.Annotations[annotationFile]
			m.tell(path, fmt.Sprintf("%s: %v", path, err))
			continue
		}
		errs = append(errs, m.bring(pod, stored[key]))
	}
	err = errors.Join(errs...)
	if err == nil {
		m.anew = nil
	}
	return err
}

func (m *manifests) stored() (map[string]*corev1.Pod, error) {
	out := make(map[string]*corev1.Pod)
	_, err := m.store.List(podmgr.Pods, "", func(data store.Data) error {
		pod := new(corev1.Pod)
		if err := data.Into(pod); err != nil {
			return err
		}
		out[pod.Namespace+"/"+pod.Name] = pod
		return nil
	})
	return out, err
}

func (m *manifests) end(pod *corev1.Pod, why string) error {
	if pod.DeletionTimestamp != nil {
		return nil
	}
	m.log.Info("ending a Pod", "pod", pod.Namespace+"/"+pod.Name, "reason", why)
	return podmgr.RequestDeletion(m.store, pod.Namespace, pod.Name, nil)
}

// bring makes one Pod of the store as wanted: a new one is added, changed images,
// labels and annotations are taken over, and for any other change the old Pod
// ends first and the new one comes when it is gone.
func (m *manifests) bring(wanted, stored *corev1.Pod) error {
	switch {
	case stored == nil:
		pod := wanted.DeepCopy()
		pod.CreationTimestamp = metav1.Now()
		pod.Annotations[annotationSeen] = pod.CreationTimestamp.UTC().Format(time.RFC3339Nano)
		m.log.Info("new Pod", "pod", pod.Namespace+"/"+pod.Name, "manifest", pod.Annotations[annotationFile])
		return m.store.Create(podmgr.Pods, pod)
	case stored.DeletionTimestamp != nil || stored.Annotations[annotationHash] == wanted.Annotations[annotationHash]:
		return nil
	case stored.Annotations[annotationSource] != "file":
		m.tell(wanted.Annotations[annotationFile], fmt.Sprintf("%s: a pod %s/%s that is not from a file is there already",
			wanted.Annotations[annotationFile], wanted.Namespace, wanted.Name))
		return nil
	case !sameButImages(&stored.Spec, &wanted.Spec):
		return m.end(stored, "its manifest has changed; the new Pod follows")
	}
	m.log.Info("updating a Pod", "pod", wanted.Namespace+"/"+wanted.Name)
	pod := wanted.DeepCopy()
	pod.UID, pod.ResourceVersion, pod.CreationTimestamp, pod.Status = stored.UID, stored.ResourceVersion, stored.CreationTimestamp, stored.Status
	pod.Generation = stored.Generation + 1
	pod.Annotations[annotationSeen] = stored.Annotations[annotationSeen]
	return m.store.Update(podmgr.Pods, pod) // a conflict with a status is tried again
}

// sameButImages tells whether a running Pod can take a spec over: only images of
// its containers differ.
func sameButImages(old, wanted *corev1.PodSpec) bool {
	a, b := old.DeepCopy(), wanted.DeepCopy()
	for _, spec := range []*corev1.PodSpec{a, b} {
		for i := range spec.InitContainers {
			spec.InitContainers[i].Image, spec.InitContainers[i].ImagePullPolicy = "", "" // the default policy follows the tag
		}
		for i := range spec.Containers {
			spec.Containers[i].Image, spec.Containers[i].ImagePullPolicy = "", ""
		}
	}
	return equality.Semantic.DeepEqual(a, b)
}
