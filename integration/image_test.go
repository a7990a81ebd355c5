// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/minikubelet/minikubelet/runtime/image/imagetest"
)

// testRegistry is a registry on loopback. It asks for user and password when they
// are given.
type testRegistry struct {
	*httptest.Server
	t              *testing.T
	user, password string
}

func newRegistry(t *testing.T, user, password string) *testRegistry {
	t.Helper()
	r := &testRegistry{t: t, user: user, password: password}
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if u, p, _ := req.BasicAuth(); u != user || p != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, req)
	}))
	t.Cleanup(r.Close)
	return r
}

// ref is an image's name in the registry.
func (r *testRegistry) ref(repository, tag string) string {
	return strings.TrimPrefix(r.URL, "http://") + "/" + repository + ":" + tag
}

// pushArtifact brings an artifact of these files, and is its name.
func (r *testRegistry) pushArtifact(repository string, files ...imagetest.File) (ref string) {
	r.t.Helper()
	a, err := imagetest.NewArtifact("application/vnd.example.model.v1", files...)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := imagetest.Push(r.t.Context(), &http.Client{Transport: r}, r.URL, repository, "v1", a); err != nil {
		r.t.Fatal(err)
	}
	return r.ref(repository, "v1")
}

// RoundTrip adds the credentials.
func (r *testRegistry) RoundTrip(req *http.Request) (*http.Response, error) {
	if r.user != "" {
		req.SetBasicAuth(r.user, r.password)
	}
	return http.DefaultTransport.RoundTrip(req)
}

// push brings an image whose command ends with a code.
func (r *testRegistry) push(repository, tag string, code int) {
	r.t.Helper()
	img := r.image(code)
	if err := imagetest.Push(r.t.Context(), &http.Client{Transport: r}, r.URL, repository, tag, img); err != nil {
		r.t.Fatal(err)
	}
}

func (r *testRegistry) image(code int) *imagetest.Image {
	r.t.Helper()
	img, err := imagetest.New(imagetest.Options{
		Layers: imagetest.Gzip, Config: ocispec.ImageConfig{Cmd: []string{"/bin/sh", "-c", fmt.Sprint("exit ", code)}},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return img
}

// pushBroken brings an image with a layer that is none.
func (r *testRegistry) pushBroken(repository, tag string) {
	r.t.Helper()
	img, err := imagetest.New(imagetest.Options{
		Layers: imagetest.Gzip, // the second layer is not yet known to any node
		Files:  []imagetest.File{{Path: "etc/motd", Mode: 0o644, Content: []byte("hello")}},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	client := &http.Client{Transport: r}
	var manifest ocispec.Manifest
	if err := json.Unmarshal(img.Manifest.Data, &manifest); err != nil {
		r.t.Fatal(err)
	}
	last := &manifest.Layers[len(manifest.Layers)-1]
	layer := imagetest.NewBlob(last.MediaType, []byte("this is no layer"))
	last.Digest, last.Size = layer.Digest, int64(len(layer.Data))
	data, err := json.Marshal(manifest)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, blob := range append([]imagetest.Blob{img.Config, layer}, img.Layers...) {
		if err := imagetest.PushBlob(r.t.Context(), client, r.URL, repository, blob); err != nil {
			r.t.Fatal(err)
		}
	}
	if err := imagetest.PushManifest(r.t.Context(), client, r.URL, repository, tag, imagetest.NewBlob(img.Manifest.MediaType, data)); err != nil {
		r.t.Fatal(err)
	}
}

// imagePod is a Pod that runs an image's own command once.
func imagePod(name, image, policy string) string {
	return podHead(name) + "\n  restartPolicy: Never\n  containers:\n" +
		"  - {name: a, image: '" + image + "', imagePullPolicy: " + policy + "}\n"
}

// awaitReason waits until a Pod's only container waits for one of the reasons.
func (n *node) awaitReason(pod string, reasons ...string) *corev1.ContainerStateWaiting {
	n.t.Helper()
	return n.awaitPod(pod, strings.Join(reasons, " or "), func(p *corev1.Pod) bool {
		s := p.Status.ContainerStatuses
		return len(s) == 1 && s[0].State.Waiting != nil && slices.Contains(reasons, s[0].State.Waiting.Reason)
	}).Status.ContainerStatuses[0].State.Waiting
}

// expectEvent waits for an event of a Pod.
func (n *node) expectEvent(pod, what string) {
	n.t.Helper()
	n.eventually(pod+" has the event "+what, func() bool {
		return slices.ContainsFunc(n.events(pod), func(e string) bool { return strings.Contains(e, what) })
	}, func() string { return strings.Join(n.events(pod), "\n") })
}

func TestMissingImageAppears(t *testing.T) {
	n, r := newNode(t), newRegistry(t, "", "")
	n.start()
	n.apply("late.yaml", imagePod("late", r.ref("late", "v1"), "IfNotPresent"))
	n.awaitReason("late", "ErrImagePull")
	waiting := n.awaitReason("late", "ImagePullBackOff")
	if !strings.Contains(waiting.Message, r.ref("late", "v1")) || !strings.HasPrefix(waiting.Message, "Back-off pulling image") {
		t.Errorf("message %q", waiting.Message)
	}
	for _, want := range []string{"Pulling: Pulling image", "Failed: Failed to pull image", "Failed: Error: ErrImagePull", "BackOff: Back-off pulling image", "Failed: Error: ImagePullBackOff"} {
		n.expectEvent("late", want)
	}
	r.push("late", "v1", 6)
	n.expectExit("late", 6)
	n.expectEvent("late", "Pulled: Successfully pulled image")
}

func TestBrokenLayer(t *testing.T) {
	n, r := newNode(t), newRegistry(t, "", "")
	n.start()
	r.pushBroken("broken", "v1")
	n.apply("broken.yaml", imagePod("broken", r.ref("broken", "v1"), "IfNotPresent"))
	n.awaitReason("broken", "ErrImagePull", "ImagePullBackOff")
	r.push("broken", "v1", 3)
	n.expectExit("broken", 3)
}

func TestPullPolicies(t *testing.T) {
	n, r := newNode(t), newRegistry(t, "", "")
	n.start()
	ref := r.ref("app", "v1")
	run := func(name, policy string, code int32) {
		t.Helper()
		n.apply(name+".yaml", imagePod(name, ref, policy))
		n.expectExit(name, code)
	}
	n.apply("too-early.yaml", imagePod("too-early", ref, "Never"))
	n.awaitReason("too-early", "ErrImageNeverPull")
	r.push("app", "v1", 3)
	run("first", "IfNotPresent", 3)
	n.expectExit("too-early", 3)
	r.push("app", "v1", 4)
	run("second", "IfNotPresent", 3)
	run("third", "Never", 3)
	run("fourth", "Always", 4)
	run("fifth", "Never", 4)
	r.Close()
	n.apply("sixth.yaml", imagePod("sixth", ref, "Always"))
	n.expectEvent("sixth", "the image is on this node, and imagePullPolicy IfNotPresent would use it")
	n.apply("name.yaml", imagePod("name", "Not/An Image", "IfNotPresent"))
	n.awaitReason("name", "InvalidImageName")
}

func TestRegistryCredentials(t *testing.T) {
	r := newRegistry(t, "user", "pass:word")
	r.push("private", "v1", 2)
	auth := t.TempDir() + "/config.json"
	config := fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, strings.TrimPrefix(r.URL, "http://"), base64.StdEncoding.EncodeToString([]byte("user:pass:word")))
	if err := os.WriteFile(auth, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	n := startNode(t)
	n.apply("private.yaml", imagePod("private", r.ref("private", "v1"), "IfNotPresent"))
	n.awaitReason("private", "ErrImagePull", "ImagePullBackOff")
	n.terminate()
	n.flags = append(n.flags, "--registry-auth", auth)
	n.start()
	n.expectExit("private", 2)
}

// TestImageCommands uses a node's images without a daemon, and the archives in
// its data directory.
func TestImageCommands(t *testing.T) {
	n, r := newNode(t), newRegistry(t, "", "")
	r.push("app", "v1", 5)
	if err := os.WriteFile(n.path("data/images/broken.tar"), []byte("no archive"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := n.images("ls"); len(got) != 0 {
		t.Errorf("images of a new node: %v", got)
	}
	if got := n.images("pull", r.ref("app", "v1")); !slices.Equal(got, []string{r.ref("app", "v1")}) {
		t.Errorf("pulled %v", got)
	}
	if got := n.images("import", "--name", "registry.example/team/app:v2", archive(t)); len(got) == 0 {
		t.Errorf("imported %v", got)
	}
	list := n.images("ls")
	if !slices.Contains(list, r.ref("app", "v1")) || len(list) < 2 {
		t.Errorf("images %v", list)
	}
	if out, err := n.try("image", "rm", r.ref("app", "v1")); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if got := n.images("ls"); slices.Contains(got, r.ref("app", "v1")) {
		t.Errorf("images after the removal %v", got)
	}
	if out, err := n.try("image", "rm", r.ref("app", "v1")); err == nil || !strings.Contains(out, "app:v1") {
		t.Errorf("removed what is not there: %v\n%s", err, out)
	}
	if out, err := n.try("image", "pull", r.ref("no-such", "v1")); err == nil || !strings.Contains(out, "no-such") {
		t.Errorf("pulled what is not there: %v\n%s", err, out)
	}
	n.start() // imports the good archive in spite of the broken one
	n.apply("pod.yaml", crashPod("pod", "Never", "", crashApp("a", "exit 0"), ""))
	n.awaitPhase("pod", corev1.PodSucceeded)
}

// images runs an image command with JSON output and gives the names it tells.
func (n *node) images(args ...string) []string {
	n.t.Helper()
	cmd := n.command(append([]string{"image", "-o", "json"}, args...)...)
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w\n%s", err, exit.Stderr)
		}
		n.t.Fatalf("%v: %v", args, err)
	}
	var list []struct{ Name string }
	if err := json.Unmarshal(out, &list); err != nil {
		n.t.Fatalf("%v: %v\n%s", args, err, out)
	}
	names := []string{}
	for _, image := range list {
		names = append(names, image.Name)
	}
	return names
}
