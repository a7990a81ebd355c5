// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	utilnet "k8s.io/apimachinery/pkg/util/net"
)

var proxyVerbs = []string{"create", "delete", "get", "patch", "update"}

// podProxy is …/pods/[scheme:]{name}[:port]/proxy/{path}.
func podProxy() subresource {
	return subresource{
		name: "proxy", verbs: proxyVerbs, kind: corev1.SchemeGroupVersion.WithKind("PodProxyOptions"), long: true, deep: true,
		serve: func(s *Server, w http.ResponseWriter, r *http.Request, req request) error {
			return s.serveProxy(w, r, req, s.podBackend)
		},
	}
}

// serviceProxy is …/services/[scheme:]{name}[:port]/proxy/{path}.
func serviceProxy() subresource {
	return subresource{
		name: "proxy", verbs: proxyVerbs, kind: corev1.SchemeGroupVersion.WithKind("ServiceProxyOptions"), long: true, deep: true,
		serve: func(s *Server, w http.ResponseWriter, r *http.Request, req request) error {
			return s.serveProxy(w, r, req, s.serviceBackend)
		},
	}
}

// backend finds the Pod and the port, 0 for the scheme's own, that a name stands for.
type backend func(ctx context.Context, namespace, name, port string) (*corev1.Pod, uint16, error)

func (s *Server) serveProxy(w http.ResponseWriter, r *http.Request, req request, find backend) error {
	scheme, name, port, ok := utilnet.SplitSchemeNamePort(req.name)
	if !ok {
		return apierrors.NewBadRequest(fmt.Sprintf("invalid %s request %q", strings.TrimSuffix(req.resource, "s"), req.name))
	}
	pod, number, err := find(r.Context(), req.namespace, name, port)
	if err != nil {
		return err
	}
	host, err := s.podAddress(pod)
	if err != nil {
		return err
	}
	if number != 0 {
		host = net.JoinHostPort(host, strconv.Itoa(int(number)))
	}
	s.proxyTo(w, r, scheme, host, req.path)
	return nil
}

// podAddress is where the Pod is reached. Its status does not count, which people may
// write; nor do addresses that lead to what only this machine is to reach.
func (s *Server) podAddress(pod *corev1.Pod) (string, error) {
	ip, ok := s.cfg.Streams.Address(pod)
	if !ok || !ip.IsGlobalUnicast() {
		return "", apierrors.NewBadRequest("address not allowed")
	}
	return ip.String(), nil
}

// podBackend is the Pod itself, at its first declared port when none is named.
func (s *Server) podBackend(_ context.Context, namespace, name, port string) (*corev1.Pod, uint16, error) {
	pod := new(corev1.Pod)
	if err := s.cfg.Store.Get("pods", namespace, name, pod); err != nil {
		return nil, 0, err
	}
	if port != "" {
		number, err := strconv.ParseUint(port, 10, 16)
		if err != nil || number == 0 {
			return nil, 0, apierrors.NewBadRequest(fmt.Sprintf("invalid pod request %q: the port must be a number from 1 to 65535", name+":"+port))
		}
		return pod, uint16(number), nil
	}
	for i := range pod.Spec.Containers {
		if ports := pod.Spec.Containers[i].Ports; len(ports) > 0 {
			return pod, uint16(ports[0].ContainerPort), nil
		}
	}
	return pod, 0, nil
}

// serviceBackend is any of the Pods behind a Service: the ready ones that it selects, or
// those to which the Endpoints of its name refer. port is the name or the number of one of
// the Service's. Addresses that are no Pod's are not for proxying, as in Kubernetes.
func (s *Server) serviceBackend(_ context.Context, namespace, name, port string) (*corev1.Pod, uint16, error) {
	var service corev1.Service
	if err := s.cfg.Store.Get("services", namespace, name, &service); err != nil {
		return nil, 0, err
	}
	number, err := strconv.ParseInt(port, 10, 64)
	byNumber := err == nil
	i := slices.IndexFunc(service.Spec.Ports, func(p corev1.ServicePort) bool {
		return byNumber && int64(p.Port) == number || !byNumber && p.Name == port
	})
	if i < 0 && byNumber {
		return nil, 0, apierrors.NewServiceUnavailable(fmt.Sprintf("no service port %d found for service %q", number, name))
	}
	var found []target
	if i >= 0 {
		if found, err = s.targets(&service, &service.Spec.Ports[i]); err != nil {
			return nil, 0, err
		}
	}
	if len(found) == 0 {
		return nil, 0, apierrors.NewServiceUnavailable(fmt.Sprintf("no endpoints available for service %q", name))
	}
	chosen := found[rand.IntN(len(found))]
	return chosen.pod, chosen.port, nil
}

// target is a port of a Pod behind a Service.
type target struct {
	pod  *corev1.Pod
	port uint16
}

// targets are those of one of a Service's ports.
func (s *Server) targets(service *corev1.Service, port *corev1.ServicePort) (found []target, err error) {
	if len(service.Spec.Selector) == 0 {
		return s.endpointTargets(service, port)
	}
	selector := labels.SelectorFromSet(service.Spec.Selector)
	err = each(s.cfg.Store, "pods", service.Namespace, func(p *corev1.Pod) error {
		if !selector.Matches(labels.Set(p.Labels)) || !service.Spec.PublishNotReadyAddresses && !serves(p) {
			return nil
		}
		if _, err := s.podAddress(p); err != nil {
			return nil
		}
		if number := targetPort(p, port); number != 0 {
			found = append(found, target{p, number})
		}
		return nil
	})
	return found, err
}

// serves tells whether a Service leads to a Pod: it is ready and stays.
func serves(p *corev1.Pod) bool {
	return p.DeletionTimestamp == nil && slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// targetPort is the number that a Service's port has in a Pod, 0 when the Pod has none
// of that name.
func targetPort(p *corev1.Pod, port *corev1.ServicePort) uint16 {
	switch name := port.TargetPort.StrVal; {
	case name != "":
		for i := range p.Spec.Containers {
			for _, c := range p.Spec.Containers[i].Ports {
				if c.Name == name && c.Protocol == port.Protocol {
					return uint16(c.ContainerPort)
				}
			}
		}
		return 0
	case port.TargetPort.IntVal != 0:
		return uint16(port.TargetPort.IntVal)
	}
	return uint16(port.Port)
}

// endpointTargets are the Pods to which the Endpoints of a Service without a selector
// refer. They have to be of its namespace, and the addresses theirs: otherwise whoever
// may write Endpoints would reach what they are kept from (CVE-2021-25740).
func (s *Server) endpointTargets(service *corev1.Service, port *corev1.ServicePort) ([]target, error) {
	//lint:ignore SA1019 it is what kube-apiserver looks at, too
	var endpoints corev1.Endpoints
	if err := s.cfg.Store.Get("endpoints", service.Namespace, service.Name, &endpoints); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		return nil, err
	}
	var found []target
	for _, subset := range endpoints.Subsets {
		i := slices.IndexFunc(subset.Ports, func(p corev1.EndpointPort) bool { return p.Name == port.Name })
		if i < 0 {
			continue
		}
		for _, a := range subset.Addresses {
			if a.TargetRef == nil || a.TargetRef.Namespace != service.Namespace {
				continue
			}
			pod := new(corev1.Pod)
			if err := s.cfg.Store.Get("pods", service.Namespace, a.TargetRef.Name, pod); err != nil {
				continue
			}
			if ip, err := s.podAddress(pod); err == nil && ip == a.IP {
				found = append(found, target{pod, uint16(subset.Ports[i].Port)})
			}
		}
	}
	return found, nil
}
