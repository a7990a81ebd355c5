// SPDX-License-Identifier: Apache-2.0

package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Object is what a store keeps: any Kubernetes API object.
type Object interface {
	metav1.Object
	runtime.Object
}

// Store is a set of objects by resource ("pods", "events"), namespace and name.
// It is safe for concurrent use.
type Store struct {
	db      *bolt.DB
	commits commits

	mu       sync.Mutex // revision, stats, ring, watchers, crowd; never held during a commit
	revision uint64
	stats    Stats
	ring     ring
	watchers map[*Watcher]struct{}
	crowd    crowd
}

var (
	bucketMeta    = []byte("meta")
	bucketObjects = []byte("objects")
	keyRevision   = []byte("revision")
)

// ErrLocked says that another process has the file open.
var ErrLocked = errors.New("the state file is in use by another process")

// Open opens or makes the state file. It waits at most a second for the file's
// lock and then fails with ErrLocked. A damaged file is an error that names it;
// nothing is thrown away.
func Open(path string) (*Store, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: time.Second, FreelistType: bolt.FreelistMapType})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("%s: %w", path, ErrLocked)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w; if the file is damaged, move it away: running Pods are found again from their manifests", path, err)
	}
	s := &Store{db: db, ring: newRing(ringEvents, ringBytes), watchers: make(map[*Watcher]struct{})}
	if err := s.load(); err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return s, nil
}

func (s *Store) load() error {
	return s.db.Update(func(tx *bolt.Tx) error {
		if _, err := tx.CreateBucketIfNotExists(bucketObjects); err != nil {
			return err
		}
		meta, err := tx.CreateBucketIfNotExists(bucketMeta)
		if err != nil {
			return err
		}
		if v := meta.Get(keyRevision); len(v) == 8 {
			s.revision = binary.BigEndian.Uint64(v)
		}
		s.ring.floor, s.ring.opened, s.stats.Bytes = s.revision, s.revision, tx.Size()
		return nil
	})
}

// Close ends all watches and closes the file.
func (s *Store) Close() error {
	s.mu.Lock()
	for w := range s.watchers {
		w.close()
		delete(s.watchers, w)
	}
	s.mu.Unlock()
	return s.db.Close()
}

// Revision is that of the last write; 0 for a new store.
func (s *Store) Revision() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.revision
}

func key(namespace, name string) []byte { return []byte(namespace + "/" + name) }

func notFound(resource, name string) error {
	return apierrors.NewNotFound(schema.GroupResource{Resource: resource}, name)
}

// Get reads one object into out, which it overwrites. It fails with a Kubernetes NotFound error.
func (s *Store) Get(resource, namespace, name string, out Object) error {
	return s.View(resource, namespace, name, func(data Data) error { return data.Into(out) })
}

// View is Get for who needs the object at rest only. The data are valid during the
// call.
func (s *Store) View(resource, namespace, name string, fn func(data Data) error) error {
	return s.db.View(func(tx *bolt.Tx) error {
		data := get(tx, resource, key(namespace, name))
		if data == nil {
			return notFound(resource, name)
		}
		return fn(Data{data})
	})
}

func get(tx *bolt.Tx, resource string, k []byte) []byte {
	b := tx.Bucket(bucketObjects).Bucket([]byte(resource))
	if b == nil {
		return nil
	}
	return b.Get(k)
}

// List calls each with every object of a resource, in the order of namespace and
// name; an empty namespace means all. The data are valid during the call only. It returns the revision that the list is of.
func (s *Store) List(resource, namespace string, each func(data Data) error) (uint64, error) {
	return s.Scan(resource, namespace, "", func(_ string, data Data) error { return each(data) })
}

// Scan is List with each object's key, "namespace/name", and begins behind the
// key after.
func (s *Store) Scan(resource, namespace, after string, each func(key string, data Data) error) (uint64, error) {
	var revision uint64
	err := s.db.View(func(tx *bolt.Tx) error {
		revision = revisionIn(tx)
		return scan(tx, resource, namespace, after, each)
	})
	return revision, err
}

func scan(tx *bolt.Tx, resource, namespace, after string, each func(key string, data Data) error) error {
	b := tx.Bucket(bucketObjects).Bucket([]byte(resource))
	if b == nil {
		return nil
	}
	prefix := ""
	if namespace != "" {
		prefix = namespace + "/"
	}
	c := b.Cursor()
	for k, v := c.Seek([]byte(max(prefix, after))); k != nil && strings.HasPrefix(string(k), prefix); k, v = c.Next() {
		if string(k) == after {
			continue
		}
		if err := each(string(k), Data{v}); err != nil {
			return err
		}
	}
	return nil
}

// revisionIn is that of the last write that a transaction sees.
func revisionIn(tx *bolt.Tx) uint64 {
	if v := tx.Bucket(bucketMeta).Get(keyRevision); len(v) == 8 {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

// Create adds an object and sets its resourceVersion. It fails with a Kubernetes
// AlreadyExists error.
func (s *Store) Create(resource string, obj Object) error {
	return s.write(resource, Added, obj, func(old *Data) error {
		if old != nil {
			return apierrors.NewAlreadyExists(schema.GroupResource{Resource: resource}, obj.GetName())
		}
		return nil
	})
}

// Update replaces an object and sets its new resourceVersion. When obj has a
// resourceVersion it must be the stored one, else the update fails with a
// Kubernetes Conflict error; a missing object is a NotFound error.
func (s *Store) Update(resource string, obj Object) error {
	return s.write(resource, Modified, obj, func(old *Data) error {
		if old == nil {
			return notFound(resource, obj.GetName())
		}
		return checkVersion(resource, obj.GetName(), obj.GetResourceVersion(), old)
	})
}

// Delete removes an object for good. When obj has a resourceVersion it must be
// the stored one. On success obj has the version of the deletion.
func (s *Store) Delete(resource string, obj Object) error {
	return s.write(resource, Deleted, obj, func(old *Data) error {
		if old == nil {
			return notFound(resource, obj.GetName())
		}
		return checkVersion(resource, obj.GetName(), obj.GetResourceVersion(), old)
	})
}

func checkVersion(resource, name, want string, old *Data) error {
	if want == "" {
		return nil
	}
	have, err := old.revision()
	if err != nil {
		return err
	}
	if have != want {
		return apierrors.NewConflict(schema.GroupResource{Resource: resource}, name,
			errors.New("the object has been modified; please apply your changes to the latest version and try again"))
	}
	return nil
}
