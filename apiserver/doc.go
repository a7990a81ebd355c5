// SPDX-License-Identifier: Apache-2.0

// Package apiserver serves the node's objects over HTTP as the Kubernetes API: a
// thin REST layer on apimachinery over the store. kubectl and client-go are its
// clients.
//
// It knows HTTP and objects, not containers, and nothing of ours that runs them;
// what it needs of Pods that run (their logs, their STATUS word) comes through
// Config. Each kind is one declaration (kind_*.go); everything else is generic.
//
// Invariants: an object of the store or of an event is never changed, only copies
// are; a request without a certificate of the node's CA or a token that is known sees
// health and version, and what is bound to system:anonymous, alone; every request is
// bounded in size, time and number.
package apiserver
