// SPDX-License-Identifier: Apache-2.0

// Package apiserver serves the node's objects over HTTP in the Kubernetes API's
// form. It knows HTTP and objects, not containers, and imports store alone.
//
// So far it reads: health, Pods and events, on a unix socket that only root can
// open. Every write comes from a manifest or from run.
package apiserver
