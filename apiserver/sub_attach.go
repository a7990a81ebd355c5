// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"fmt"
	"net/http"

	corev1 "k8s.io/api/core/v1"
)

// podAttach is …/pods/{name}/attach.
func podAttach() subresource {
	return subresource{
		name: "attach", verbs: []string{"create", "get"}, kind: corev1.SchemeGroupVersion.WithKind("PodAttachOptions"), long: true, serve: (*Server).serveAttach,
	}
}

func (s *Server) serveAttach(w http.ResponseWriter, r *http.Request, req request) error {
	c, err := s.readCall(w, r, req)
	if c == nil || err != nil {
		return err
	}
	pod, container, wanted := &c.pod, c.container, c.wanted
	id, ok := s.cfg.Streams.Running(pod, container)
	if !ok {
		nodeText(w, http.StatusInternalServerError, fmt.Sprintf("container %s not found in pod %s", container, pod.Name+"_"+pod.Namespace))
		return nil
	}
	session, err := s.beginSession(r, "attach", pod, "container", container, "tty", wanted.TTY, "stdin", wanted.Stdin)
	if err != nil {
		return err
	}
	client, err := s.streaming.Accept(w, r, wanted)
	if err != nil {
		session.end("err", err)
		return nil // answered
	}
	spec := streamSpec(pod, container)
	t := session.terminal(client, spec.tty)
	if !spec.stdin {
		t.Stdin = nil // the container has none
	}
	if !spec.tty {
		t.Resize = nil
	}
	// With a terminal the end of a client's input ends the attachment, not the input of
	// the container, as containerd's CRI has it for the sake of kubectl.
	if err := s.cfg.Streams.Attach(client.Context(), id, spec.once && !spec.tty, t); err != nil {
		client.End(sessionFailed(fmt.Errorf("error attaching to container: %w", err)))
		session.end("err", err)
		return nil
	}
	client.End(sessionSucceeded.DeepCopy())
	session.end()
	return nil
}

// streams are those that a container's spec gives it.
type streams struct{ stdin, once, tty bool }

func streamSpec(pod *corev1.Pod, name string) streams {
	for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range list {
			if c := &list[i]; c.Name == name {
				return streams{c.Stdin, c.StdinOnce, c.TTY}
			}
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		if c := &pod.Spec.EphemeralContainers[i]; c.Name == name {
			return streams{c.Stdin, c.StdinOnce, c.TTY}
		}
	}
	return streams{}
}
