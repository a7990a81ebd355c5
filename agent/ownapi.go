// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/minikubelet/minikubelet/agent/socket"
)

const (
	// ownWorkMax and ownFollowMax bound what is done at a time for commands beside the
	// agent: work on images, and outputs that are followed.
	ownWorkMax, ownFollowMax = 8, 512
	// ownWrite is how long a client may take to read a line of an answer.
	ownWrite = 30 * time.Second
)

// ownAPI is what the socket has beside the Kubernetes API, for the agent's own
// commands. Whoever can open the socket is the administrator.
type ownAPI struct {
	agent        *Agent
	kubernetes   http.Handler
	work, follow chan struct{}
	mux          *http.ServeMux
}

func newOwnAPI(a *Agent, kubernetes http.Handler) *ownAPI {
	o := &ownAPI{
		agent: a, kubernetes: kubernetes, mux: http.NewServeMux(),
		work: make(chan struct{}, ownWorkMax), follow: make(chan struct{}, ownFollowMax),
	}
	o.mux.HandleFunc("GET "+socket.PathImage, bounded(o.work, o.listImages))
	o.mux.HandleFunc("POST "+socket.PathImage, bounded(o.work, o.importImages))
	o.mux.HandleFunc("DELETE "+socket.PathImage, bounded(o.work, o.removeImages))
	o.mux.HandleFunc("POST "+socket.PathPull, bounded(o.work, o.pullImage))
	o.mux.HandleFunc("GET "+socket.PathFacts, bounded(o.follow, o.facts))
	o.mux.HandleFunc("GET "+socket.PathOutput, bounded(o.follow, o.output))
	return o
}

func (o *ownAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.HasPrefix(r.URL.Path, socket.Root) {
		o.kubernetes.ServeHTTP(w, r)
		return
	}
	o.mux.ServeHTTP(w, r)
}

// bounded serves as many requests at a time as there are places.
func bounded(places chan struct{}, serve http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case places <- struct{}{}:
			defer func() { <-places }()
			serve(w, r)
		default:
			refuse(w, http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests, fmt.Sprintf("%d requests of this kind are under way; try again when one has ended", cap(places)))
		}
	}
}

// refuse answers with an error.
func refuse(w http.ResponseWriter, code int, reason metav1.StatusReason, message string) {
	answer(w, code, metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure, Code: int32(code), Reason: reason, Message: message,
	})
}

// answer writes one object; the client may be gone.
func answer(w http.ResponseWriter, code int, object any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(ownWrite))
	_ = json.NewEncoder(w).Encode(object)
}

// lines writes an answer that takes time: one object a line, each at once.
type lines struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

func newLines(w http.ResponseWriter) *lines {
	l := &lines{w: w, control: http.NewResponseController(w)}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	_ = l.control.Flush() // before the first line, which may take its time
	return l
}

func (l *lines) write(object any) error {
	data, err := json.Marshal(object)
	if err != nil {
		return err
	}
	return l.bytes(append(data, '\n'))
}

func (l *lines) bytes(data []byte) error {
	if err := l.control.SetWriteDeadline(time.Now().Add(ownWrite)); err != nil {
		return err
	}
	if _, err := l.w.Write(data); err != nil {
		return err
	}
	return l.control.Flush()
}
