// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// mountPatience is the kubelet's podAttachAndMountTimeout.
const mountPatience = 2*time.Minute + 3*time.Second

// mountWatch tells once of volumes that are not set up in time. They are not given up: what
// lies on a mount whose server does not answer goes on when it does, and nobody could
// end the call.
type mountWatch struct {
	mu      sync.Mutex
	missing []string
	timer   *time.Timer
}

// watchMounts begins to watch the volumes, which are set up in their order. tell gets the
// message, in the kubelet's words.
func watchMounts(list []corev1.Volume, patience time.Duration, tell func(message string)) *mountWatch {
	m := &mountWatch{}
	for i := range list {
		m.missing = append(m.missing, list[i].Name)
	}
	m.timer = time.AfterFunc(patience, func() {
		m.mu.Lock()
		message := fmt.Sprintf("Unable to attach or mount volumes: unmounted volumes=%v, unattached volumes=[], failed to process volumes=[]: context deadline exceeded", m.missing)
		m.mu.Unlock()
		tell(message)
	})
	return m
}

// began says that a volume is the next one to be set up, and those before it are.
func (m *mountWatch) began(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.missing) > 0 && m.missing[0] != name {
		m.missing = m.missing[1:]
	}
}

// end says that all are set up, or will not be.
func (m *mountWatch) end() { m.timer.Stop() }
