// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/minikubelet/minikubelet/store"
)

const (
	// readTimeout and writeTimeout bound one request.
	readTimeout, writeTimeout = 10 * time.Second, 30 * time.Second
	// headerMax is what a request's header may have, in bytes.
	headerMax = 16 << 10
)

// Handler answers
//
//	GET /healthz
//	GET /api/v1/pods, /api/v1/events
//	GET /api/v1/namespaces/{namespace}/pods[/{name}], …/events[/{name}]
//
// with a List or an object in JSON, and with a metav1.Status when it cannot.
func Handler(s *store.Store) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") })
	for _, resource := range []string{"pods", "events"} {
		list := func(w http.ResponseWriter, r *http.Request) { listObjects(w, s, resource, r.PathValue("namespace")) }
		mux.HandleFunc("GET /api/v1/"+resource, list)
		mux.HandleFunc("GET /api/v1/namespaces/{namespace}/"+resource, list)
		mux.HandleFunc("GET /api/v1/namespaces/{namespace}/"+resource+"/{name}", func(w http.ResponseWriter, r *http.Request) {
			getObject(w, s, resource, r.PathValue("namespace"), r.PathValue("name"))
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, apierrors.NewGenericServerResponse(http.StatusNotFound, r.Method, corev1.Resource(""), r.URL.Path,
			"the server could not find the requested resource", 0, true))
	})
	return mux
}

func listObjects(w http.ResponseWriter, s *store.Store, resource, namespace string) {
	list := struct {
		metav1.TypeMeta `json:",inline"`
		metav1.ListMeta `json:"metadata"`
		Items           []json.RawMessage `json:"items"`
	}{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: kinds[resource] + "List"}, Items: []json.RawMessage{}}
	revision, err := s.List(resource, namespace, func(data []byte) error {
		list.Items = append(list.Items, append([]byte(nil), data...))
		return nil
	})
	if err != nil {
		fail(w, err)
		return
	}
	list.ResourceVersion = strconv.FormatUint(revision, 10)
	answer(w, http.StatusOK, list)
}

var kinds = map[string]string{"pods": "Pod", "events": "Event"}

func getObject(w http.ResponseWriter, s *store.Store, resource, namespace, name string) {
	var object store.Object = new(corev1.Pod)
	if resource == "events" {
		object = new(corev1.Event)
	}
	if err := s.Get(resource, namespace, name, object); err != nil {
		fail(w, err)
		return
	}
	answer(w, http.StatusOK, object)
}

func answer(w http.ResponseWriter, code int, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(append(data, '\n')) // the client may be gone
}

func fail(w http.ResponseWriter, err error) {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		status = apierrors.NewInternalError(err)
	}
	s := status.Status()
	s.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
	answer(w, int(s.Code), s)
}

// Listen makes the unix socket, which only its owner can open. A socket that an
// earlier agent left is replaced: the caller holds the data directory's lock.
func Listen(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("API socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("API socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("API socket: %w", err), l.Close())
	}
	return l, nil
}

// Serve answers on a listener until ctx ends, and closes it.
func Serve(ctx context.Context, l net.Listener, h http.Handler, log *slog.Logger) error {
	server := &http.Server{
		Handler: h, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, MaxHeaderBytes: headerMax,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(l); err != nil && ctx.Err() == nil {
		return fmt.Errorf("API: %w", err)
	}
	return nil
}
