// SPDX-License-Identifier: Apache-2.0

package api

import (
	"strings"
	"testing"
)

// TestPrivileged: fields.go says that privileged containers are supported.
func TestPrivileged(t *testing.T) {
	objects, problems := decodeSound("f", strings.NewReader(small("a")+"    securityContext: {privileged: true}\n"))
	if len(problems) > 0 {
		t.Fatal(problems[0].Error())
	}
	pod := objects[0].Pod
	Default(pod)
	if errs := Validate(pod); len(errs) > 0 {
		t.Error(errs.ToAggregate())
	}
}
