// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"log/slog"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/pod-security-admission/policy"

	"github.com/minikubelet/minikubelet/apiserver/rbac"
	"github.com/minikubelet/minikubelet/apiserver/streaming"
	"github.com/minikubelet/minikubelet/apiserver/token"
	"github.com/minikubelet/minikubelet/store"
)

// Bounds of requests.
const (
	// bodyMax is what a request's body may have, in bytes: etcd's limit, doubled, as
	// kube-apiserver has it.
	bodyMax = 3 << 20
	// requestTime bounds a request that is no watch.
	requestTime = 60 * time.Second
	// inFlightMax and watchesMax bound the requests that are served at a time.
	inFlightMax, watchesMax = 200, 1000
)

// Config is what a server serves.
type Config struct {
	Store    *store.Store
	NodeName string
	// Version is the version of Kubernetes that the API has, like v1.36.3.
	Version string
	// Program is the version of the program that serves, "" when it has none that tells
	// it from others: clients then keep no documents of it.
	Program string
	// Summary is what the table of Pods shows: the STATUS word, ready and all
	// containers, restarts.
	Summary func(*corev1.Pod) (status string, ready, total, restarts int)
	// AskToEnd marks a Pod, the caller's own copy, as ending within a grace period in
	// seconds, nil for the Pod's own; false when it ends as soon already. Whoever runs
	// the Pod removes it from the store at its end.
	AskToEnd func(pod *corev1.Pod, seconds *int64) bool
	// TellScheduled tells an event of the scheduler about a Pod. It does not wait until
	// the event is stored: the Pod's start does not, either.
	TellScheduled func(pod *corev1.Pod, kind, reason, message string)
	// OwnsCondition tells the Pod conditions that the node itself sets.
	OwnsCondition func(corev1.PodCondition) bool
	// Logs reads containers' logs.
	Logs LogReader
	// Streams reaches into running Pods, for exec, attach and port-forward.
	Streams Streams
	// Tokens makes and checks the tokens of ServiceAccounts; nil when there are none.
	Tokens *token.Authority
	// MountTokens gives Pods tokens that do not say whether they want them.
	MountTokens bool
	// TokenFile has users with tokens of their own; nil when there are none.
	TokenFile *TokenFile
	// Stats tells what the node uses and does; nil when nobody counts.
	Stats Stats
	Log   *slog.Logger
}

// Server is the API. It is safe for concurrent use.
type Server struct {
	cfg      Config
	codecs   codecs
	kinds    []*kind
	byName   map[schema.GroupVersionResource]*kind
	policy   *rbac.Policy
	security policy.Evaluator
	// converters know the types for the account of who manages which fields; each is
	// made when it is first needed.
	managing   sync.Mutex
	converters map[schema.GroupVersionKind]managedfields.TypeConverter

	// creating is read-locked while an object is created in a namespace, and locked
	// while a namespace is marked as ending.
	creating sync.RWMutex
	// quotas is held while an object that counts for a ResourceQuota is created.
	quotas  sync.Mutex
	flight  *places
	watches *places
	frames  frames
	// answerTime and readTime are requestTime and slowWrite, but in tests.
	answerTime, readTime time.Duration
	// endpoints are the kubelet's own, by path.
	endpoints map[string]http.Handler
	// sessions bounds those of exec, attach and port-forward.
	sessions  *places
	streaming streaming.Server
	// toPods is how proxied requests reach Pods.
	toPods http.RoundTripper
}

// New makes a server.
func New(cfg Config) *Server {
	s := &Server{
		cfg: cfg, byName: make(map[schema.GroupVersionResource]*kind),
		security: newSecurity(), policy: rbac.New(cfg.Store), flight: newPlaces("requests", inFlightMax), watches: newPlaces("watches", watchesMax),
		sessions:   newPlaces("sessions of exec, attach and port-forward", sessionsMax),
		answerTime: requestTime, readTime: slowWrite,
	}
	s.toPods = newPodTransport(dialPod)
	s.converters = make(map[schema.GroupVersionKind]managedfields.TypeConverter)
	s.kinds = slices.Concat(s.allKinds(), controllerKinds(), reviewKinds())
	if cfg.Stats != nil {
		s.kinds = append(s.kinds, nodeMetricsKind(&s.cfg), podMetricsKind(&s.cfg))
		s.endpoints = cfg.Stats.Endpoints()
	}
	for _, k := range s.kinds {
		s.byName[k.groupVersion().WithResource(k.name)] = k
	}
	s.codecs = newCodecs(s.kinds)
	return s
}

// ServeHTTP answers whoever proves who they are, as far as they are allowed to ask;
// others see health and version.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	who, err := s.authenticate(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.serve(w, r, who)
}

// Trusted answers everybody as an administrator: for a socket that only the
// administrator can open.
func (s *Server) Trusted() http.Handler {
	admin := socketIdentity()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, admin) })
}

// serve bounds the request, sees whether it is allowed and finds who answers it.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, who *Identity) {
	req, bad := parse(r)
	k, sub := s.find(req)
	places := s.flight
	long := bad == nil && isLong(r, req, sub)
	if long {
		places = s.watches
	}
	w, answered := s.count(w, r, req, k, sub, long)
	defer answered()
	giveBack, err := places.take(who)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	defer giveBack()
	deadline := time.Now().Add(s.answerTime)
	if long {
		deadline = time.Time{}
	}
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(deadline) // a recorder in tests has none
	_ = control.SetWriteDeadline(deadline)
	if sub == nil || !sub.long {
		r.Body = http.MaxBytesReader(w, r.Body, bodyMax)
	}
	if who, err = s.impersonate(r, who); err == nil && !public(r) {
		err = s.authorize(who, wanted(r, req, bad == nil))
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if r = as(r, who); s.special(w, r) {
		return
	}
	if bad == nil {
		bad = s.dispatch(w, r, k, sub, req)
	}
	if bad != nil {
		s.fail(w, r, bad)
	}
}

// find returns the kind and the subresource that a request names, nil for those
// that there are not.
func (s *Server) find(req request) (*kind, *subresource) {
	k := s.byName[schema.GroupVersionResource{Group: req.group, Version: req.version, Resource: req.resource}]
	if k == nil || req.subresource == "" {
		return k, nil
	}
	return k, k.sub(req.subresource)
}

// isLong tells requests that go on until somebody ends them.
func isLong(r *http.Request, req request, sub *subresource) bool {
	return req.verb == "watch" || sub != nil && (sub.long || sub.follows && isTrue(r.URL.Query().Get("follow")))
}

func isTrue(s string) bool { return s == "true" || s == "1" }

// special answers what is no resource; false when it is one.
func (s *Server) special(w http.ResponseWriter, r *http.Request) bool {
	at := strings.TrimSuffix(r.URL.Path, "/")
	answer, ok := map[string]func(http.ResponseWriter, *http.Request) error{
		"/healthz": s.health, "/livez": s.health, "/readyz": s.health, "/version": s.version,
		"": s.root, "/api": s.discoverLegacy, "/apis": s.discoverGroups, "/openapi/v2": s.openAPI2, "/openapi/v3": s.openAPIRoot,
		discoveryPath: s.openIDDiscovery, keySetPath: s.openIDKeySet,
	}[at]
	if !ok {
		answer = s.describe(at)
	}
	if h := s.endpoint(at); h != nil {
		answer = func(w http.ResponseWriter, r *http.Request) error { h.ServeHTTP(w, r); return nil }
	}
	if answer == nil {
		return false
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		s.fail(w, r, apierrors.NewMethodNotSupported(schema.GroupResource{}, strings.ToLower(r.Method)))
	} else if err := answer(w, r); err != nil {
		s.fail(w, r, err)
	}
	return true
}

// health says that the server answers, which is all there is to check. With the parameter
// verbose it says so as kube-apiserver does.
func (s *Server) health(w http.ResponseWriter, r *http.Request) error {
	answer := "ok"
	if r.URL.Query().Has("verbose") {
		answer = "[+]ping ok\n" + path.Base(r.URL.Path) + " check passed\n"
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte(answer)) // the client may be gone
	return nil
}

// dispatch calls the verb.
func (s *Server) dispatch(w http.ResponseWriter, r *http.Request, k *kind, sub *subresource, req request) error {
	switch {
	case k == nil || k.namespaced && req.namespace == "" && req.name != "", !k.namespaced && req.namespace != "":
		return notFoundPath()
	case sub != nil && (req.path == "" || sub.deep):
		if !slices.Contains(sub.verbs, req.verb) && !(sub.long && sub.deep && r.Method == http.MethodOptions) {
			return apierrors.NewMethodNotSupported(k.groupResource(), req.verb)
		}
		return sub.serve(s, w, r, req)
	case req.subresource != "":
		return notFoundPath()
	}
	if !k.can(req.verb) {
		return apierrors.NewMethodNotSupported(k.groupResource(), req.verb)
	}
	if err := k.writable(req.verb); err != nil {
		return err
	}
	switch req.verb {
	case "get":
		return s.get(w, r, k, req)
	case "list":
		return s.list(w, r, k, req)
	case "watch":
		return s.watch(w, r, k, req)
	case "create":
		if k.review != nil {
			return s.answerReview(w, r, k, req)
		}
		return s.create(w, r, k, req)
	case "update":
		return s.update(w, r, k, req)
	case "patch":
		return s.patch(w, r, k, req)
	case "delete":
		return s.delete(w, r, k, req)
	case "deletecollection":
		return s.deleteCollection(w, r, k, req)
	}
	return notFoundPath()
}

func notFoundPath() error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusNotFound, Reason: metav1.StatusReasonNotFound,
		Message: "the server could not find the requested resource", Details: &metav1.StatusDetails{},
	}}
}
