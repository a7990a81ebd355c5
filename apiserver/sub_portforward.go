// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"fmt"
	"net"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/minikubelet/minikubelet/apiserver/streaming"
)

// podPortForward is …/pods/{name}/portforward.
func podPortForward() subresource {
	return subresource{
		name: "portforward", verbs: []string{"create", "get"}, kind: corev1.SchemeGroupVersion.WithKind("PodPortForwardOptions"), long: true,
		serve: (*Server).servePortForward,
	}
}

func (s *Server) servePortForward(w http.ResponseWriter, r *http.Request, req request) error {
	if err := s.mayCreate(r, req); err != nil {
		return err
	}
	var pod corev1.Pod
	if err := s.cfg.Store.Get("pods", req.namespace, req.name, &pod); err != nil {
		return err
	}
	if !streaming.IsUpgrade(r) {
		return apierrors.NewBadRequest("Upgrade request required")
	}
	if pod.Status.Phase != corev1.PodRunning && pod.Status.Phase != corev1.PodPending {
		nodeText(w, http.StatusInternalServerError, fmt.Sprintf("pod not found (%q)", pod.Name+"_"+pod.Namespace))
		return nil
	}
	session, err := s.beginSession(r, "portforward", &pod)
	if err != nil {
		return err
	}
	err = s.streaming.ServePorts(w, r, func(ctx context.Context, port uint16) (net.Conn, error) {
		conn, err := s.cfg.Streams.Dial(ctx, &pod, port)
		if err != nil {
			return nil, fmt.Errorf("error forwarding port %d to pod %s, uid %s: %w", port, pod.Name, pod.UID, err)
		}
		return countedConn{conn, session}, nil
	})
	if err != nil {
		session.end("err", err)
	} else {
		session.end()
	}
	return nil // answered
}
