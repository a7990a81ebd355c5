// SPDX-License-Identifier: Apache-2.0

package socket

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/minikubelet/minikubelet/runtime/crilog"
)

const (
	// PathOutput is one attempt's output and PathFacts what is known of a Pod beyond
	// its status.
	PathOutput = Root + "output"
	PathFacts  = Root + "facts"
)

// Facts is what the node knows of a Pod and the API does not tell.
type Facts struct {
	// Cgroup has the values of the Pod's control group, by file name.
	Cgroup map[string]string `json:"cgroup,omitempty"`
	// Ran is how long containers ran that have ended, by ID, in nanoseconds.
	Ran map[string]time.Duration `json:"ran,omitempty"`
}

// Facts are none for a Pod that is not there.
func (c *Client) Facts(ctx context.Context, uid string) (Facts, error) {
	var f Facts
	err := c.do(ctx, http.MethodGet, PathFacts, url.Values{"uid": {uid}}, nil, &f)
	return f, own(err)
}

// Output hands out what an attempt of a container has written since some time and
// writes until it has ended, entry by entry as the log has them: an attempt of its
// own, and both streams in their order, which pods/log cannot do. A Pod that is gone
// has none. An error means that there may be more.
func (c *Client) Output(ctx context.Context, pod *corev1.Pod, container string, attempt int, since time.Time, emit func(crilog.Entry)) error {
	query := url.Values{
		"namespace": {pod.Namespace}, "pod": {pod.Name}, "uid": {string(pod.UID)}, "container": {container}, "attempt": {strconv.Itoa(attempt)},
	}
	if !since.IsZero() {
		query.Set("since", since.UTC().Format(time.RFC3339Nano))
	}
	r, err := c.open(ctx, http.MethodGet, PathOutput, query, nil)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer r.Body.Close()
	for lines := bufio.NewReader(r.Body); ; {
		line, err := lines.ReadBytes('\n')
		switch {
		case errors.Is(err, io.EOF) && len(line) == 0: // what is cut off ends otherwise
			return nil
		case err != nil:
			return fmt.Errorf("%s: output of %s: %w", c.path, container, err)
		}
		e, err := crilog.Parse(line[:len(line)-1])
		if err != nil {
			return fmt.Errorf("%s: output of %s: %w", c.path, container, err)
		}
		emit(e)
	}
}
