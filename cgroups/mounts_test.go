// SPDX-License-Identifier: Apache-2.0

package cgroups

import (
	"fmt"
	"strings"
	"testing"
)

func TestParseMounts(t *testing.T) {
	tests := []struct {
		name, mountinfo string
		want            string
		mode            Mode
	}{
		{
			"each v1 controller by itself, idle v2 beside",
			`31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
33 31 0:30 / /sys/fs/cgroup/cpuacct rw,relatime - cgroup cgroup rw,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw`,
			"[/sys/fs/cgroup/cpu [cpu] v1] [/sys/fs/cgroup/cpuacct [cpuacct] v1] [/sys/fs/cgroup/memory [memory] v1] [/sys/fs/cgroup/systemd [] v1] [/sys/fs/cgroup/unified [] v2]",
			Hybrid,
		},
		{
			"controllers mounted together, xattr and named options",
			`25 30 0:22 / /sys/fs/cgroup/systemd rw,nosuid shared:9 - cgroup cgroup rw,xattr,name=systemd
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:5 master:1 - cgroup cgroup rw,cpu,cpuacct`,
			"[/sys/fs/cgroup/systemd [] v1] [/sys/fs/cgroup/cpu,cpuacct [cpu cpuacct] v1]",
			V1,
		},
		{
			"v2 alone, mounted a second time elsewhere",
			`41 31 0:38 / /var/lib/x/sys/fs/cgroup rw - cgroup2 cgroup2 rw
30 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot`,
			"[/sys/fs/cgroup [] v2]",
			V2,
		},
		{
			"spaces in a path",
			`30 23 0:26 / /mnt/my\040groups rw - cgroup2 cgroup2 rw`,
			"[/mnt/my groups [] v2]",
			V2,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			found, err := parseMounts(strings.NewReader(tt.mountinfo))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, h := range found {
				version := "v1"
				if h.v2 {
					version = "v2"
				}
				got = append(got, fmt.Sprintf("[%s %v %s]", h.mount, h.controllers, version))
			}
			if s := strings.Join(got, " "); s != tt.want {
				t.Errorf("\n got %s\nwant %s", s, tt.want)
			}
			if mode := modeOf(found); mode != tt.mode {
				t.Errorf("mode %s, want %s", mode, tt.mode)
			}
		})
	}
	if _, err := parseMounts(strings.NewReader("1 2 0:1 / / rw - ext4 /dev/vda rw\ngarbage\n")); err != errNoCgroups {
		t.Errorf("no cgroups: %v", err)
	}
}

func FuzzParseMounts(f *testing.F) {
	f.Add("32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n")
	f.Add(`1 2 0:1 / /a\0 - cgroup2 x y`)
	f.Fuzz(func(t *testing.T, text string) {
		found, err := parseMounts(strings.NewReader(text))
		if err == nil && len(found) == 0 {
			t.Error("nothing found and no error")
		}
	})
}

func FuzzParseOOMKills(f *testing.F) {
	f.Add("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")
	f.Fuzz(func(t *testing.T, text string) {
		_, _ = parseOOMKills([]byte(text))
	})
}
