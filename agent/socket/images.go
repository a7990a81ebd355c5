// SPDX-License-Identifier: Apache-2.0

package socket

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/minikubelet/minikubelet/runtime/image"
)

// Paths of the socket's own endpoints.
const (
	Root      = "/minikubelet/v1/"
	PathImage = Root + "images"
	PathPull  = Root + "images/pull"
)

// ImageAnswer is what the image endpoints answer: one object, or for work that
// takes time one a line, the last of which has Done.
type ImageAnswer struct {
	Progress *image.Progress `json:"progress,omitempty"`
	Images   []image.Image   `json:"images,omitempty"`
	Removed  []string        `json:"removed,omitempty"`
	Error    string          `json:"error,omitempty"`
	// Again says that the same may succeed when it is sent once more: what stood in the
	// way is gone.
	Again bool `json:"again,omitempty"`
	Done  bool `json:"done,omitempty"`
}

// Images is the image store of the agent, as the commands use it.
type Images struct {
	*Client
	// Hosts is the directory of hosts.toml files that the user wants; the agent refuses
	// a pull when it has another.
	Hosts string
	// Auth is a docker config.json with credentials, nil for the agent's own alone.
	Auth []byte
}

// Import sends an archive; its name is for messages alone.
func (c Images) Import(ctx context.Context, path, name string, progress func(image.Progress)) ([]image.Image, error) {
	for try := 1; ; try++ {
		answer, err := c.importOnce(ctx, path, name, progress)
		if err != nil || answer.Error == "" {
			return answer.Images, err
		}
		if !answer.Again || try > 1 {
			return nil, errors.New(answer.Error)
		}
	}
}

func (c Images) importOnce(ctx context.Context, path, name string, progress func(image.Progress)) (ImageAnswer, error) {
	f, err := os.Open(path)
	if err != nil {
		return ImageAnswer{}, err
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = fmt.Errorf("%s: it is a directory; an image archive is a file", path)
	}
	if err != nil {
		return ImageAnswer{}, errors.Join(err, f.Close())
	}
	query := url.Values{"file": {path}, "size": {strconv.FormatInt(info.Size(), 10)}}
	if name != "" {
		query.Set("name", name)
	}
	return c.steps(ctx, PathImage, query, f, progress) // which closes the file
}

// Pull has the agent pull an image.
func (c Images) Pull(ctx context.Context, ref string, progress func(image.Progress)) (image.Image, error) {
	query := url.Values{"image": {ref}}
	if c.Hosts != "" {
		query.Set("hosts", c.Hosts)
	}
	answer, err := c.steps(ctx, PathPull, query, bytes.NewReader(c.Auth), progress)
	switch {
	case err != nil:
		return image.Image{}, err
	case answer.Error != "":
		return image.Image{}, errors.New(answer.Error)
	case len(answer.Images) != 1:
		return image.Image{}, fmt.Errorf("%s: the agent's answer has %d images", ref, len(answer.Images))
	}
	return answer.Images[0], nil
}

// List tells of all images.
func (c Images) List(ctx context.Context) ([]image.Image, error) {
	var answer ImageAnswer
	err := c.do(ctx, http.MethodGet, PathImage, nil, nil, &answer)
	return answer.Images, own(err)
}

// Remove removes a name, or with an ID or digest all names of that content.
func (c Images) Remove(ctx context.Context, ref string, force bool) ([]string, error) {
	var answer ImageAnswer
	query := url.Values{"image": {ref}, "force": {strconv.FormatBool(force)}}
	err := own(c.do(ctx, http.MethodDelete, PathImage, query, nil, &answer))
	if err == nil && answer.Error != "" {
		err = errors.New(answer.Error)
	}
	return answer.Removed, err
}

// own is the error of an endpoint of ours.
func own(err error) error {
	if apierrors.IsNotFound(err) {
		return ErrUnknown
	}
	return err
}

// steps posts a body and reads the lines of the answer, which come while the body
// is being sent, until the last.
func (c *Client) steps(ctx context.Context, path string, query url.Values, body io.Reader, progress func(image.Progress)) (ImageAnswer, error) {
	ctx, cancel := context.WithCancel(ctx) // so that a body of which nobody wants the rest is sent no further
	defer cancel()
	r, err := c.open(ctx, http.MethodPost, path, query, body)
	if err != nil {
		return ImageAnswer{}, own(err)
	}
	defer r.Body.Close()
	for lines := json.NewDecoder(r.Body); ; {
		var answer ImageAnswer
		if err := lines.Decode(&answer); err != nil {
			if ctx.Err() != nil {
				return ImageAnswer{}, ctx.Err()
			}
			return ImageAnswer{}, fmt.Errorf("%s: the agent has gone away in the middle of the work (%w): look whether it runs, and try again", c.path, err)
		}
		if answer.Progress != nil && progress != nil {
			progress(*answer.Progress)
		}
		if answer.Done {
			return answer, nil
		}
	}
}
