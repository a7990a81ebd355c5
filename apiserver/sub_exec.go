// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"fmt"
	"net/http"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// How a session tells an exit code.
const (
	reasonExitCode = "NonZeroExitCode"
	causeExitCode  = "ExitCode"
)

// podExec is …/pods/{name}/exec.
func podExec() subresource {
	return subresource{
		name: "exec", verbs: []string{"create", "get"}, kind: corev1.SchemeGroupVersion.WithKind("PodExecOptions"), long: true, serve: (*Server).serveExec,
	}
}

func (s *Server) serveExec(w http.ResponseWriter, r *http.Request, req request) error {
	c, err := s.readCall(w, r, req)
	if c == nil || err != nil {
		return err
	}
	pod, container, wanted := &c.pod, c.container, c.wanted
	command := r.URL.Query()["command"]
	if len(command) == 0 {
		nodeText(w, http.StatusBadRequest, "you must specify the command to run")
		return nil
	}
	id, ok := s.cfg.Streams.Running(pod, container)
	if !ok {
		nodeText(w, http.StatusInternalServerError, fmt.Sprintf("container not found (%q)", container))
		return nil
	}
	session, err := s.beginSession(r, "exec", pod, "container", container, "program", command[0], "tty", wanted.TTY, "stdin", wanted.Stdin)
	if err != nil {
		return err
	}
	client, err := s.streaming.Accept(w, r, wanted)
	if err != nil {
		session.end("err", err)
		return nil // answered
	}
	code, err := s.cfg.Streams.Exec(client.Context(), id, command, session.terminal(client, wanted.TTY))
	client.End(exitStatus(code, err))
	if err != nil {
		session.end("err", err)
	} else {
		session.end("exitCode", code)
	}
	return nil
}

// exitStatus is what the client of exec is told at its end.
func exitStatus(code int, err error) *metav1.Status {
	switch {
	case err != nil:
		return sessionFailed(fmt.Errorf("error executing command in container: %w", err))
	case code != 0:
		return &metav1.Status{
			Status: metav1.StatusFailure, Reason: reasonExitCode,
			Message: fmt.Sprintf("command terminated with non-zero exit code: command terminated with exit code %d", code),
			Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: causeExitCode, Message: strconv.Itoa(code)}}},
		}
	}
	return sessionSucceeded.DeepCopy()
}
