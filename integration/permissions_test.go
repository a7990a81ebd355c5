// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestPermissionsInEmptyDirs: what root and a user may do with each other's files, by
// the files' modes, on disk and in memory, with fsGroup and without.
func TestPermissionsInEmptyDirs(t *testing.T) {
	n := startNode(t)
	const make = `for v in disk memory; do for m in 0644 0666 0777; do f=/$v/$(id -u)-$m; echo "#!/bin/sh" >$f; chmod $m $f; done; done`
	const look = `for v in disk memory; do for o in 0 1000; do for m in 0644 0666 0777; do f=/$v/$o-$m; p=; ` +
		`cat $f >/dev/null 2>&1 && p=r; (echo >>$f) 2>/dev/null && p=${p}w; $f >/dev/null 2>&1 && p=${p}x; echo $v $o $m $p $(stat -c %g $f); done; done; ` +
		`(echo >/$v/new-$(id -u)) 2>/dev/null && echo $v makes; stat -c "$v %a %u %g" /$v; done; echo end`
	const mounts = "volumeMounts: [{name: disk, mountPath: /disk}, {name: memory, mountPath: /memory}]"
	user := func(id int) string { return fmt.Sprintf("securityContext: {runAsUser: %d, runAsGroup: %d}", id, id) }
	pod := func(name, security string) string {
		return podOf(name, "restartPolicy: Never", security, "volumes: [{name: disk, emptyDir: {}}, {name: memory, emptyDir: {medium: Memory}}]",
			inits(sh("i0", make, mounts, user(0)), sh("i1", make, mounts, user(1000))),
			apps(sh("root", look, mounts, user(0)), sh("user", look, mounts, user(1000)), sh("other", look, mounts, user(2000))))
	}
	n.apply("matrix.yaml", pod("plain", "securityContext: {}")+"---\n"+pod("group", "securityContext: {fsGroup: 4242}"))
	for name, group := range map[string]string{"plain": "", "group": "4242"} {
		p := n.awaitPhase(name, corev1.PodSucceeded)
		for container, own := range map[string]string{"root": "0", "user": "1000", "other": "2000"} {
			var want []string
			for _, volume := range []string{"disk", "memory"} {
				for _, owner := range []string{"0", "1000"} {
					for _, mode := range []string{"0644", "0666", "0777"} {
						may := map[string]string{"0644": "r", "0666": "rw", "0777": "rwx"}[mode]
						if mode == "0644" && (own == owner || own == "0") {
							may = "rw"
						}
						of := owner // the primary group of whoever made it, unless the directory gives its own
						if group != "" {
							of = group
						}
						want = append(want, strings.Join([]string{volume, owner, mode, may, of}, " "))
					}
				}
				dir := volume + " 777 0 0"
				if group != "" {
					dir = volume + " 2777 0 " + group
				}
				want = append(want, volume+" makes", dir)
			}
			if got := n.said(p, container); !slices.Equal(got, want) {
				t.Errorf("%s, %s:\n%s\nwant\n%s", name, container, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
	}
}
