// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"strings"
	"testing"
)

// Who makes a Service is told that nothing leads to it, once.
func TestServicesAreWarnedAbout(t *testing.T) {
	b := newBench(t)
	b.space("default")
	const service = `{"apiVersion":"v1","kind":"Service","metadata":{"name":"a"},"spec":{"ports":[{"port":80}]}}`
	code, h, answer := b.do("POST", "/api/v1/namespaces/default/services", service)
	if code != 201 || !strings.Contains(h.Get("Warning"), "nothing on this node's network leads to a Service") {
		t.Errorf("create: %d %s, warned %q", code, answer, h["Warning"])
	}
	code, h, answer = b.do("PATCH", "/api/v1/namespaces/default/services/a", `{"metadata":{"labels":{"k":"v"}}}`, "Content-Type", "application/merge-patch+json")
	if code != 200 || len(h["Warning"]) != 0 {
		t.Errorf("patch: %d %s, warned %q", code, answer, h["Warning"])
	}
}
