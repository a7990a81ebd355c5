// SPDX-License-Identifier: Apache-2.0

package api

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// ContainerHash is the same for two containers exactly when a process started for
// the one is as good as one started for the other. It goes over what the process
// sees from its start on: image, command, environment, mounts, security context,
// terminal. Left out is what the agent applies around it or may change while it
// runs: resources and resizePolicy, pull policy, probes, lifecycle hooks, restart
// policies, ports.
//
// It is stable over releases: the hash is over JSON with sorted keys, fields that
// are not set do not appear, and values that defaulting fills in are left out, so
// that a field or a default that Kubernetes adds later changes no hash.
func ContainerHash(c *corev1.Container) string {
	seen := corev1.Container{
		Name: c.Name, Image: c.Image, Command: c.Command, Args: c.Args, WorkingDir: c.WorkingDir,
		EnvFrom: c.EnvFrom, Env: c.Env, VolumeMounts: c.VolumeMounts, VolumeDevices: c.VolumeDevices,
		TerminationMessagePath: c.TerminationMessagePath, SecurityContext: c.SecurityContext,
		Stdin: c.Stdin, StdinOnce: c.StdinOnce, TTY: c.TTY,
	}
	var value any
	text, err := json.Marshal(seen)
	if err == nil {
		err = json.Unmarshal(text, &value)
	}
	if err == nil {
		text, err = json.Marshal(withoutDefaults("", value))
	}
	if err != nil {
		panic(fmt.Sprintf("a container is always JSON: %v", err))
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// hashDefaults are the values that defaulting fills into the hashed fields.
var hashDefaults = map[string]string{
	"terminationMessagePath":                 corev1.TerminationMessagePathDefault,
	"securityContext.procMount":              string(corev1.DefaultProcMount),
	"env.valueFrom.fieldRef.apiVersion":      "v1",
	"env.valueFrom.resourceFieldRef.divisor": "0",
}

// withoutDefaults drops default values and what is then empty from a JSON value.
func withoutDefaults(path string, value any) any {
	switch v := value.(type) {
	case []any:
		for i := range v {
			v[i] = withoutDefaults(path, v[i])
		}
	case map[string]any:
		for key, inner := range v {
			at := key
			if path != "" {
				at = path + "." + key
			}
			inner = withoutDefaults(at, inner)
			object, isObject := inner.(map[string]any)
			if inner == hashDefaults[at] || inner == nil || isObject && len(object) == 0 {
				delete(v, key)
				continue
			}
			v[key] = inner
		}
	}
	return value
}

// PodUID derives a UID for a Pod of a manifest: the same node, file and content
// (Object.Canonical) give the same UID, so that an agent started again finds its
// Pods; any change of content gives a new Pod. The kubelet does so for static Pods.
func PodUID(node, file string, canonical []byte) types.UID {
	h := sha256.New()
	fmt.Fprintf(h, "%d:%s%d:%s%d:%s", len(node), node, len(file), file, len(canonical), canonical)
	b := h.Sum(nil)[:16]
	b[6], b[8] = b[6]&0x0f|0x80, b[8]&0x3f|0x80 // UUID version 8 (own scheme), RFC 9562
	return types.UID(fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]))
}
