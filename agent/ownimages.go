// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/minikubelet/minikubelet/agent/socket"
	"github.com/minikubelet/minikubelet/runtime/image"
)

// authMax is what a docker config.json may have, in bytes.
const authMax = 1 << 20

func (o *ownAPI) listImages(w http.ResponseWriter, r *http.Request) {
	list, err := o.agent.images.List(r.Context())
	if err != nil {
		refuse(w, http.StatusInternalServerError, metav1.StatusReasonInternalError, err.Error())
		return
	}
	answer(w, http.StatusOK, socket.ImageAnswer{Images: list})
}

func (o *ownAPI) removeImages(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	names, err := o.agent.images.Remove(r.Context(), q.Get("image"), q.Get("force") == "true")
	out := socket.ImageAnswer{Removed: names}
	for _, name := range names {
		o.agent.log.Info("image removed by command", "image", name)
	}
	if err != nil {
		out.Error = err.Error()
	}
	answer(w, http.StatusOK, out)
}

// importImages takes an archive from the body, for the agent may not see the
// client's files. Its size has no bound of its own: no more of it is read than the
// importer unpacks.
func (o *ownAPI) importImages(w http.ResponseWriter, r *http.Request) {
	if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
		refuse(w, http.StatusHTTPVersionNotSupported, metav1.StatusReasonBadRequest, err.Error())
		return
	}
	q, steps := r.URL.Query(), newSteps(w)
	size, _ := strconv.ParseInt(q.Get("size"), 10, 64) // 0: unknown
	list, err := o.agent.images.Import(r.Context(), r.Body, image.ImportOptions{
		Name: q.Get("name"), Subject: q.Get("file"), Size: size, Progress: steps.progress,
	})
	for _, img := range list {
		o.agent.log.Info("image imported by command", "image", img.Name)
	}
	if steps.end(list, err) == nil {
		_, _ = io.Copy(io.Discard, r.Body) // until the client, which has its answer, hangs up
	}
}

// pullImage pulls with the agent's mirrors and credentials, before which those of
// the body count.
func (o *ownAPI) pullImage(w http.ResponseWriter, r *http.Request) {
	q, a := r.URL.Query(), o.agent
	bad := func(text string) { refuse(w, http.StatusBadRequest, metav1.StatusReasonBadRequest, text) }
	if hosts := q.Get("hosts"); hosts != "" && hosts != a.cfg.RegistryHosts {
		bad(fmt.Sprintf("registryHosts: the running agent has %q and not %q: restart it with that, or leave --registry-hosts out", a.cfg.RegistryHosts, hosts))
		return
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, authMax))
	if err != nil {
		bad("registryAuth: " + err.Error())
		return
	}
	var own image.Credentials
	if len(data) > 0 {
		if own, err = image.ParseCredentials("registryAuth", data); err != nil {
			bad(err.Error())
			return
		}
	}
	steps := newSteps(w)
	img, err := a.images.Pull(r.Context(), q.Get("image"), image.PullOptions{
		Credentials: image.FirstOf(own, a.pullAuth), HostsDir: a.cfg.RegistryHosts, Progress: steps.progress,
	})
	if err == nil {
		a.log.Info("image pulled by command", "image", img.Name)
	}
	_ = steps.end([]image.Image{img}, err) // the client may be gone
}

// steps tells a client how far work on an image has come.
type steps struct {
	mu    sync.Mutex
	lines *lines
}

func newSteps(w http.ResponseWriter) *steps { return &steps{lines: newLines(w)} }

// progress leaves it to the work itself to find out that the client is gone.
func (s *steps) progress(p image.Progress) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.lines.write(socket.ImageAnswer{Progress: &p})
}

func (s *steps) end(list []image.Image, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := socket.ImageAnswer{Images: list, Done: true}
	if err != nil {
		out = socket.ImageAnswer{Error: err.Error(), Again: errors.Is(err, image.ErrScrubbed), Done: true}
	}
	return s.lines.write(out)
}
