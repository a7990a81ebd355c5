// SPDX-License-Identifier: Apache-2.0

package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/minikubelet/minikubelet/runtime/image/imagetest"
)

// testRegistry is a registry on loopback. wrap, if given, sees every request first.
type testRegistry struct {
	*httptest.Server
	host string
	gets atomic.Int64 // blobs fetched
}

func newRegistry(t *testing.T, wrap func(http.Handler) http.Handler) *testRegistry {
	t.Helper()
	r := &testRegistry{}
	var handler http.Handler = registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	if wrap != nil {
		handler = wrap(handler)
	}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Method == http.MethodGet && strings.Contains(req.URL.Path, "/blobs/") {
			r.gets.Add(1)
		}
		handler.ServeHTTP(w, req)
	}))
	t.Cleanup(r.Close)
	r.host = strings.TrimPrefix(r.URL, "http://")
	return r
}

func (r *testRegistry) push(t *testing.T, repository, tag string, img *imagetest.Image) string {
	t.Helper()
	if err := imagetest.Push(t.Context(), http.DefaultClient, r.URL, repository, tag, img); err != nil {
		t.Fatal(err)
	}
	return r.host + "/" + repository + ":" + tag
}

// bigImage has a layer of a few megabytes that does not compress.
func bigImage(t *testing.T) *imagetest.Image {
	t.Helper()
	noise := make([]byte, 4<<20)
	state := uint64(1)
	for i := range noise {
		state = state*6364136223846793005 + 1442695040888963407
		noise[i] = byte(state >> 56)
	}
	img := small(t, imagetest.Options{Layers: imagetest.Gzip})
	addLayer(t, img, imagetest.Gzip, imagetest.File{Path: "noise", Mode: 0o644, Content: noise})
	return img
}

func TestPull(t *testing.T) {
	s, ctx := newStore(t, Limits{})
	r := newRegistry(t, nil)
	img := bigImage(t)
	ref := r.push(t, "team/app", "v1", img)
	var reports []Progress
	got, err := s.Pull(t.Context(), ref, PullOptions{Progress: func(p Progress) { reports = append(reports, p) }})
	if err != nil {
		t.Fatal(err)
	}
	if got.Name != ref || got.ID != img.Config.Digest || got.Digest != img.Manifest.Digest || got.Source != sourceRegistry {
		t.Errorf("%+v", got)
	}
	if want := r.host + "/team/app@" + img.Manifest.Digest.String(); len(got.RepoDigests) != 1 || got.RepoDigests[0] != want {
		t.Errorf("%v, want %s", got.RepoDigests, want)
	}
	if readFile(t, s, got, "etc/motd") != "hello\n" {
		t.Error("wrong content")
	}
	last := reports[len(reports)-1]
	if !last.Done || last.Layers != 2 || last.TotalLayers != 2 || last.Unpacked != 2 || last.Bytes != got.Size || last.TotalBytes != got.Size {
		t.Errorf("last report %+v, size %d", last, got.Size)
	}
	for i := 1; i < len(reports); i++ {
		if reports[i].Bytes < reports[i-1].Bytes || reports[i].Bytes > reports[i].TotalBytes {
			t.Errorf("reports go back or too far: %+v", reports)
		}
	}
	// Again: nothing is fetched.
	before := r.gets.Load()
	if _, err := s.Pull(t.Context(), ref, PullOptions{}); err != nil || r.gets.Load() != before {
		t.Errorf("again: %v, %d blobs fetched", err, r.gets.Load()-before)
	}
	// By digest.
	byDigest, err := s.Pull(t.Context(), r.host+"/team/app@"+img.Manifest.Digest.String(), PullOptions{})
	if err != nil || byDigest.ID != got.ID {
		t.Errorf("by digest: %+v, %v", byDigest, err)
	}
	for _, ref := range []string{ref, byDigest.Name} {
		if _, err := s.Remove(t.Context(), ref, false); err != nil {
			t.Error(err)
		}
	}
	expectEmpty(t, s, ctx)
}

func TestPullErrors(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := closed.Addr().String()
	closed.Close()

	img := bigImage(t)
	layer := img.Layers[1].Digest.String()
	onLayer := func(f func(http.ResponseWriter, *http.Request, http.Handler)) func(http.Handler) http.Handler {
		return func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, layer) {
					f(w, r, next)
					return
				}
				next.ServeHTTP(w, r)
			})
		}
	}
	flip := func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		data := append([]byte(nil), img.Layers[1].Data...)
		data[len(data)/2] ^= 1
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		w.Write(data)
	}
	for name, c := range map[string]struct {
		wrap  func(http.Handler) http.Handler
		ref   string
		kind  error
		says  string
		stall time.Duration
	}{
		"no such tag":        {ref: "HOST/team/app:v2", kind: ErrNotFound, says: "team/app:v2: not found in the registry"},
		"no such repository": {ref: "HOST/other:v1", kind: ErrNotFound},
		"no such digest":     {ref: "HOST/team/app@sha256:" + strings.Repeat("0", 64), kind: ErrNotFound},
		"nobody listens":     {ref: nobody + "/app:v1", kind: ErrUnreachable, says: "connection refused"},
		"denied": {wrap: func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusForbidden) })
		}, kind: ErrUnauthorized},
		"server error": {wrap: onlyReads(func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
		}), kind: ErrUnreachable},
		"wrong bytes": {wrap: onLayer(flip), kind: ErrCorrupt, says: layer},
		"layer missing": {wrap: onLayer(func(w http.ResponseWriter, r *http.Request, _ http.Handler) { http.NotFound(w, r) }),
			kind: ErrNotFound, says: layer},
		"silent": {wrap: onLayer(func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			w.Header().Set("Content-Length", fmt.Sprint(len(img.Layers[1].Data)))
			w.Write(img.Layers[1].Data[:1000])
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}), kind: ErrUnreachable, says: "sent nothing for", stall: 300 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			s, ctx := newStore(t, Limits{})
			r := newRegistry(t, c.wrap)
			ref := r.host + "/team/app:v1"
			if name == "denied" {
				ref = r.host + "/team/app:v1"
			} else {
				r.push(t, "team/app", "v1", img)
			}
			if c.ref != "" {
				ref = strings.Replace(c.ref, "HOST", r.host, 1)
			}
			_, err := s.Pull(t.Context(), ref, PullOptions{StallTimeout: c.stall})
			t.Log(err)
			if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %v with %q", err, c.kind, c.says)
			}
			if _, ok, err := s.Get(t.Context(), ref); ok || err != nil {
				t.Errorf("the image seems present: %v, %v", ok, err)
			}
			if c.kind != ErrUnreachable {
				expectEmpty(t, s, ctx)
			}
		})
	}
}

// onlyReads lets pushes through.
func onlyReads(wrap func(http.Handler) http.Handler) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		wrapped := wrap(next)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet || r.Method == http.MethodHead {
				wrapped.ServeHTTP(w, r)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// After a broken layer the next pull must fetch it anew.
func TestPullRecoversFromABrokenLayer(t *testing.T) {
	img := bigImage(t)
	var broken atomic.Bool
	broken.Store(true)
	r := newRegistry(t, onlyReads(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if broken.Load() && strings.HasSuffix(req.URL.Path, img.Layers[1].Digest.String()) {
				w.Write(make([]byte, len(img.Layers[1].Data)))
				return
			}
			next.ServeHTTP(w, req)
		})
	}))
	s, _ := newStore(t, Limits{})
	ref := r.push(t, "app", "1", img)
	if _, err := s.Pull(t.Context(), ref, PullOptions{}); !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
	broken.Store(false)
	if _, err := s.Pull(t.Context(), ref, PullOptions{}); err != nil {
		t.Error(err)
	}
}

// A pull that is cut off goes on where it stopped.
func TestPullResumes(t *testing.T) {
	img := bigImage(t)
	layer := img.Layers[1]
	ctx, cancel := context.WithCancel(t.Context())
	var cut atomic.Bool
	var ranges sync.Map
	cut.Store(true)
	r := newRegistry(t, onlyReads(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if req.Method == http.MethodGet && strings.HasSuffix(req.URL.Path, layer.Digest.String()) {
				if cut.Load() {
					w.Header().Set("Content-Length", fmt.Sprint(layer.Size))
					w.Write(layer.Data[:3<<20])
					w.(http.Flusher).Flush()
					<-req.Context().Done()
					return
				}
				ranges.Store(req.Header.Get("Range"), true)
				http.ServeContent(w, req, "", time.Time{}, strings.NewReader(string(layer.Data)))
				return
			}
			next.ServeHTTP(w, req)
		})
	}))
	s, sctx := newStore(t, Limits{})
	ref := r.push(t, "app", "1", img)
	go func() {
		defer cancel()
		for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			if ingests, _ := s.content().ListStatuses(sctx); len(ingests) == 1 && ingests[0].Offset > 2<<20 {
				return
			}
		}
	}()
	_, err := s.Pull(ctx, ref, PullOptions{})
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if _, ok, err := s.Get(t.Context(), ref); ok || err != nil {
		t.Fatalf("after the cut: %v, %v", ok, err)
	}
	cut.Store(false)
	got, err := s.Pull(t.Context(), ref, PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	resumed := false
	ranges.Range(func(key, _ any) bool {
		resumed = resumed || strings.HasPrefix(key.(string), "bytes=") && !strings.HasPrefix(key.(string), "bytes=0-")
		t.Logf("range %q", key)
		return true
	})
	if !resumed {
		t.Error("the layer was fetched from its start")
	}
	if readFile(t, s, got, "etc/motd") != "hello\n" {
		t.Error("wrong content")
	}
	if _, err := s.Remove(t.Context(), ref, false); err != nil {
		t.Fatal(err)
	}
	expectEmpty(t, s, sctx)
}

func TestPullTheSameTwiceAtOnce(t *testing.T) {
	s, _ := newStore(t, Limits{})
	r := newRegistry(t, nil)
	img := bigImage(t)
	refs := []string{r.push(t, "app", "1", img), r.push(t, "app", "2", img), r.push(t, "other", "1", img)}
	var wg sync.WaitGroup
	for i := range 9 {
		wg.Go(func() {
			if _, err := s.Pull(t.Context(), refs[i%3], PullOptions{Progress: func(Progress) {}}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, ref := range refs {
		if _, ok, err := s.Get(t.Context(), ref); !ok || err != nil {
			t.Errorf("%s: %v, %v", ref, ok, err)
		}
	}
}

func TestPullWithCredentials(t *testing.T) {
	open := false
	r := newRegistry(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			user, password, _ := req.BasicAuth()
			if !open && (user != "me" || password != "secret:1") {
				w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			next.ServeHTTP(w, req)
		})
	})
	open = true
	ref := r.push(t, "team/app", "1", small(t, imagetest.Options{}))
	open = false
	s, _ := newStore(t, Limits{})
	for name, c := range map[string]struct {
		config string
		kind   error
	}{
		"none":          {`{}`, ErrUnauthorized},
		"wrong":         {`{"auths":{"HOST":{"username":"me","password":"guess"}}}`, ErrUnauthorized},
		"another's":     {`{"auths":{"example.com":{"username":"me","password":"secret:1"}}}`, ErrUnauthorized},
		"helper":        {`{"credHelpers":{"HOST":"vault"}}`, ErrUnauthorized},
		"auth":          {`{"auths":{"HOST":{"auth":"bWU6c2VjcmV0OjE="}}}`, nil},
		"with a scheme": {`{"auths":{"https://HOST/v2/":{"username":"me","password":"secret:1"}}}`, nil},
		"for the team":  {`{"auths":{"HOST":{"username":"x","password":"y"},"HOST/team":{"username":"me","password":"secret:1"}}}`, nil},
	} {
		path := filepath.Join(t.TempDir(), "config.json")
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(c.config, "HOST", r.host)), 0o600); err != nil {
			t.Fatal(err)
		}
		credentials, err := LoadCredentials(filepath.Join(t.TempDir(), "none.json"), path)
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Pull(t.Context(), ref, PullOptions{Credentials: credentials})
		t.Logf("%s: %v", name, err)
		if !errors.Is(err, c.kind) {
			t.Errorf("%s: %v, want %v", name, err, c.kind)
		}
		if err != nil && (strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "guess")) {
			t.Errorf("%s: the error tells the password: %v", name, err)
		}
	}
}

func TestPullThroughAMirror(t *testing.T) {
	s, _ := newStore(t, Limits{})
	r := newRegistry(t, nil)
	img := small(t, imagetest.Options{})
	r.push(t, "library/busybox", "1", img)
	hosts := t.TempDir()
	dir := filepath.Join(hosts, "docker.io")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	toml := fmt.Sprintf("server = \"http://127.0.0.1:1\"\n[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n", r.URL)
	if err := os.WriteFile(filepath.Join(dir, "hosts.toml"), []byte(toml), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := s.Pull(t.Context(), "busybox:1", PullOptions{HostsDir: hosts})
	if err != nil || got.Name != "docker.io/library/busybox:1" || got.ID != img.Config.Digest {
		t.Errorf("%+v, %v", got, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "hosts.toml"), []byte("server = [\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Pull(t.Context(), "busybox:1", PullOptions{HostsDir: hosts}); err == nil || !strings.Contains(err.Error(), "hosts.toml") {
		t.Errorf("a broken hosts.toml: %v", err)
	}
}

func TestPullChoosesThePlatform(t *testing.T) {
	s, _ := newStore(t, Limits{})
	r := newRegistry(t, nil)
	mine := small(t, imagetest.Options{})
	other := small(t, imagetest.Options{Architecture: "s390x", Files: []imagetest.File{{Path: "other", Mode: 0o644}}})
	r.push(t, "app", "other", other)
	r.push(t, "app", "mine", mine)
	for tag, images := range map[string][]*imagetest.Image{"both": {other, mine}, "none": {other}} {
		index, err := imagetest.Index(images...)
		if err != nil {
			t.Fatal(err)
		}
		if err := imagetest.PushManifest(t.Context(), http.DefaultClient, r.URL, "app", tag, index); err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.Pull(t.Context(), r.host+"/app:both", PullOptions{})
	if err != nil || got.ID != mine.Config.Digest || got.Digest != mine.Manifest.Digest || got.Target == got.Digest {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := s.Pull(t.Context(), r.host+"/app:none", PullOptions{}); !errors.Is(err, ErrNoPlatform) || !strings.Contains(err.Error(), "linux/s390x") {
		t.Errorf("%v", err)
	}
}
