// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"bytes"
	"compress/gzip"
	"errors"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

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
	var b bytes.Buffer
	if err := f.serializer().Encode(o, &b); err != nil {
		return apierrors.NewInternalError(err)
	}
	return writeBody(w, r, code, mediaType(f), b.Bytes())
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

func writeBody(w http.ResponseWriter, r *http.Request, code int, kind string, body []byte) error {
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Cache-Control", "no-cache, private")
	h.Add("Vary", "Accept, Accept-Encoding")
	if len(body) >= gzipMin && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") && !near(r) {
		h.Set("Content-Encoding", "gzip")
		w.WriteHeader(code)
		z, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
		if err != nil {
			return nil // the level is valid
		}
		_, _ = z.Write(body) // the client may be gone
		_ = z.Close()
		return nil
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(code)
	_, _ = w.Write(body) // the client may be gone
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
