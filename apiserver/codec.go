// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"

	"github.com/munnerz/goautoneg"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
)

// codecs knows the kinds and the forms that they have on the wire.
type codecs struct {
	scheme *runtime.Scheme
	infos  []runtime.SerializerInfo
}

func newCodecs(kinds []*kind) codecs {
	scheme := runtime.NewScheme()
	known := make(map[schema.GroupVersion]bool)
	for _, k := range kinds {
		if gv := k.groupVersion(); !known[gv] {
			known[gv] = true
			utilruntime.Must(k.types(scheme)) // fails for programming errors only
		}
	}
	utilruntime.Must(policyv1.AddToScheme(scheme)) // for evictions
	utilruntime.Must(metav1.AddMetaToScheme(scheme))
	return codecs{scheme, serializer.NewCodecFactory(scheme).SupportedMediaTypes()}
}

// form is how a client wants the answer.
type form struct {
	info   runtime.SerializerInfo
	as     string // "", Table, PartialObjectMetadata or PartialObjectMetadataList
	pretty bool
}

func (f form) serializer() runtime.Serializer {
	if f.pretty && f.info.PrettySerializer != nil {
		return f.info.PrettySerializer
	}
	return f.info.Serializer
}

// negotiate finds the first acceptable form that the server has. A client that
// accepts none is refused with status 406.
func (c *codecs) negotiate(r *http.Request) (form, error) {
	header := r.Header.Get("Accept")
	if header == "" {
		header = "*/*"
	}
	var f form
	q := r.URL.Query()
	f.pretty = q.Has("pretty") && q.Get("pretty") != "false" && q.Get("pretty") != "0"
	for _, clause := range goautoneg.ParseAccept(header) {
		info, ok := c.find(clause.Type, clause.SubType)
		if !ok {
			continue
		}
		f.info, f.as = info, clause.Params["as"]
		switch {
		case f.as == "":
			return f, nil
		case clause.Params["g"] != metav1.GroupName || clause.Params["v"] != "v1":
		case f.as == "Table" && info.MediaType != runtime.ContentTypeProtobuf: // which has no tables
			return f, nil
		case f.as == "PartialObjectMetadata" || f.as == "PartialObjectMetadataList":
			return f, nil
		}
	}
	return form{}, &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusNotAcceptable, Reason: metav1.StatusReasonNotAcceptable,
		Message: "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf",
	}}
}

// find prefers JSON for wildcards.
func (c *codecs) find(kind, sub string) (runtime.SerializerInfo, bool) {
	if kind == "*" || kind == "application" && sub == "*" {
		kind, sub = "application", "json"
	}
	for _, info := range c.infos {
		if info.MediaTypeType == kind && info.MediaTypeSubType == sub {
			return info, true
		}
	}
	return runtime.SerializerInfo{}, false
}

// gzipMin is the size in bytes from which an answer is compressed for a client
// that takes it, as in kube-apiserver.
const gzipMin = 128 << 10

// answer writes an object. Its kind must be set.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, f form, code int, o runtime.Object) error {
	b := bodies.Get().(*body)
	if err := f.serializer().Encode(o, b); err != nil {
		return apierrors.NewInternalError(err)
	}
	b.sent(writeBody(w, r, code, mediaType(f), b.bytes))
	return nil
}

func mediaType(f form) string {
	if f.as == "" {
		return f.info.MediaType
	}
	return f.info.MediaType + ";as=" + f.as + ";v=v1;g=meta.k8s.io"
}

// near tells a client on this machine, to which bytes cost less than packing them.
func near(r *http.Request) bool {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	return err != nil || from.Addr().Unmap().IsLoopback() // the socket's clients have no address
}

// bodies has what answers were made in, so that a large one leaves no garbage. What
// is not used for a while is garbage then.
var bodies = sync.Pool{New: func() any { return new(body) }}

// body is an answer that is being made.
type body struct{ bytes []byte }

// Write is io.Writer's.
func (b *body) Write(p []byte) (int, error) {
	b.bytes = append(b.bytes, p...)
	return len(p), nil
}

// bodyMost is what a body may have, in bytes, to be kept.
const bodyMost = 4 << 20

// sent gives a body back that was written. One that could not be is never used
// again: HTTP/2 may still read it after the write has failed.
func (b *body) sent(err error) {
	if err == nil && cap(b.bytes) <= bodyMost {
		b.bytes = b.bytes[:0]
		bodies.Put(b)
	}
}

// writeBody writes an answer, which is in parts. The error is that of writing: the
// client may be gone.
func writeBody(w http.ResponseWriter, r *http.Request, code int, kind string, body ...[]byte) error {
	size := 0
	for _, part := range body {
		size += len(part)
	}
	h := w.Header()
	h.Set("Content-Type", kind)
	if h.Get("Cache-Control") == "" {
		h.Set("Cache-Control", "no-cache, private")
	}
	h.Add("Vary", "Accept, Accept-Encoding")
	to := io.Writer(w)
	if size >= gzipMin && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") && !near(r) {
		h.Set("Content-Encoding", "gzip")
		z, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
		if err != nil {
			return err // the level is valid
		}
		defer z.Close()
		to = z
	} else {
		h.Set("Content-Length", strconv.Itoa(size))
	}
	w.WriteHeader(code)
	for _, part := range body {
		if _, err := to.Write(part); err != nil {
			return err
		}
	}
	return nil
}

// statusOf is an error as the API shows it.
func statusOf(err error) *metav1.Status {
	var tooLarge *http.MaxBytesError
	var status apierrors.APIStatus
	switch {
	case errors.As(err, &tooLarge):
		status = apierrors.NewRequestEntityTooLargeError("limit is " + strconv.FormatInt(tooLarge.Limit, 10))
	case !errors.As(err, &status):
		status = apierrors.NewInternalError(err)
	}
	out := status.Status()
	out.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
	return &out
}

// fail answers with a Status.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	status := statusOf(err)
	if status.Details != nil && status.Details.RetryAfterSeconds > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(status.Details.RetryAfterSeconds)))
	}
	if status.Code >= http.StatusInternalServerError {
		s.cfg.Log.Warn("API request failed", "method", r.Method, "path", r.URL.Path, "err", err)
	}
	f, bad := s.codecs.negotiate(r)
	if bad != nil || f.as != "" {
		json, _ := s.codecs.find("application", "json")
		if f.as == "" || f.info.MediaType == "" {
			f.info = json
		}
		f.as = ""
	}
	_ = s.answer(w, r, f, int(status.Code), status) // a Status can always be encoded
}
