// SPDX-License-Identifier: Apache-2.0

package network

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestHostsFile(t *testing.T) {
	const managed = "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n" +
		"fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n"
	ips := []netip.Addr{netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("fd00::2")}
	aliases := []corev1.HostAlias{{IP: "192.0.2.1", Hostnames: []string{"a", "b.example"}}, {IP: "192.0.2.2", Hostnames: []string{"c"}}}
	const aliasLines = "\n# Entries added by HostAliases.\n192.0.2.1\ta\tb.example\n192.0.2.2\tc\n"
	for _, c := range []struct {
		name      string
		got, want string
	}{
		{"hostname", string(HostsFile(ips[:1], "web", "", nil)), managed + "10.0.0.2\tweb\n"},
		{"domain, two addresses", string(HostsFile(ips, "web", "sub.default.svc", nil)), managed + "10.0.0.2\tweb.sub.default.svc\tweb\nfd00::2\tweb.sub.default.svc\tweb\n"},
		{"aliases", string(HostsFile(ips[:1], "web", "", aliases)), managed + "10.0.0.2\tweb\n" + aliasLines},
		{"host network", string(HostNetworkHostsFile([]byte("127.0.0.1 localhost"), aliases)), "# Kubernetes-managed hosts file (host network).\n127.0.0.1 localhost\n" + aliasLines},
		{"host network, no aliases", string(HostNetworkHostsFile(nil, nil)), "# Kubernetes-managed hosts file (host network).\n"},
	} {
		if c.got != c.want {
			t.Errorf("%s:\ngot  %q\nwant %q", c.name, c.got, c.want)
		}
	}
}

func TestParseResolvConf(t *testing.T) {
	got := ParseResolvConf([]byte(`# nameserver 1.1.1.1
nameserver 192.0.2.1
 nameserver	192.0.2.2 trailing
nameserver
domain ignored.example
search old.example
search a.example. . b.example
options ndots:5 timeout:1
options ndots:2 rotate`))
	want := DNS{
		Nameservers: []string{"192.0.2.1", "192.0.2.2"},
		Searches:    []string{"a.example", "b.example"},
		Options:     []string{"ndots:2", "timeout:1", "rotate"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestResolvConf(t *testing.T) {
	host := DNS{Nameservers: []string{"192.0.2.1"}, Searches: []string{"host.example"}, Options: []string{"ndots:1", "rotate"}}
	const hostFile = "search host.example\nnameserver 192.0.2.1\noptions ndots:1 rotate\n"
	two := "2"
	var many []string
	for i := range 40 {
		many = append(many, fmt.Sprintf("s%d.example", i))
	}
	long := strings.Repeat("x", 250)
	for _, c := range []struct {
		name    string
		spec    corev1.PodSpec
		host    DNS
		want    string
		warning string // part of the only warning; "" for none
	}{
		{"Default", corev1.PodSpec{DNSPolicy: corev1.DNSDefault}, host, hostFile, ""},
		{"ClusterFirst", corev1.PodSpec{DNSPolicy: corev1.DNSClusterFirst}, host, hostFile, ""},
		{"ClusterFirstWithHostNet", corev1.PodSpec{DNSPolicy: corev1.DNSClusterFirstWithHostNet, HostNetwork: true}, host, hostFile, ""},
		{"None", corev1.PodSpec{DNSPolicy: corev1.DNSNone, DNSConfig: &corev1.PodDNSConfig{Nameservers: []string{"203.0.113.9"}}}, host, "nameserver 203.0.113.9\n", ""},
		{"merged", corev1.PodSpec{DNSPolicy: corev1.DNSDefault, DNSConfig: &corev1.PodDNSConfig{
			Nameservers: []string{"192.0.2.1", "192.0.2.2"}, Searches: []string{"pod.example", "host.example"},
			Options: []corev1.PodDNSConfigOption{{Name: "ndots", Value: &two}, {Name: "edns0"}},
		}}, host, "search host.example pod.example\nnameserver 192.0.2.1\nnameserver 192.0.2.2\noptions ndots:2 rotate edns0\n", ""},
		{"too many nameservers", corev1.PodSpec{}, DNS{Nameservers: []string{"192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"}}, "nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\n", "Nameserver limits"},
		{"too many searches", corev1.PodSpec{}, DNS{Searches: many}, "search " + strings.Join(many[:32], " ") + "\n", "32 of 40 domains"},
		{"searches too long together", corev1.PodSpec{}, DNS{Searches: []string{long, long, long, long, long, long, long, long, long, "y"}}, "search " + strings.TrimSpace(strings.Repeat(long+" ", 8)) + "\n", "8 of 10 domains"},
		{"a search too long", corev1.PodSpec{}, DNS{Searches: []string{long + "xxxx", "y"}}, "search y\n", "1 of 2 domains"},
		{"loopback nameserver", corev1.PodSpec{}, DNS{Nameservers: []string{"127.0.0.53"}}, "nameserver 127.0.0.53\n", "127.0.0.53 is on the host's loopback"},
		{"loopback nameserver, host network", corev1.PodSpec{HostNetwork: true}, DNS{Nameservers: []string{"127.0.0.53"}}, "nameserver 127.0.0.53\n", ""},
		{"nothing", corev1.PodSpec{}, DNS{}, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := fmt.Sprint(c.host)
			got, warnings := ResolvConf(&c.spec, c.host)
			if string(got) != c.want {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
			if joined := strings.Join(warnings, "\n"); (joined == "") != (c.warning == "") || !strings.Contains(joined, c.warning) || len(warnings) > 1 {
				t.Errorf("warnings %q, want one with %q", warnings, c.warning)
			}
			if fmt.Sprint(c.host) != before {
				t.Error("the host's settings were changed")
			}
		})
	}
}

func TestReadHostDNS(t *testing.T) {
	dir := t.TempDir()
	write := func(name, s string) string {
		p := filepath.Join(dir, name)
		must(t, os.WriteFile(p, []byte(s), 0o600))
		return p
	}
	stub := write("stub", "nameserver 127.0.0.53\noptions edns0\n")
	behind := write("behind", "nameserver 192.0.2.1\nsearch lan\n")
	plain := write("plain", "nameserver 192.0.2.7\nnameserver 127.0.0.53\n")
	huge := write("huge", strings.Repeat("#", maxResolvConf+1))
	missing := filepath.Join(dir, "missing")
	for _, c := range []struct{ path, upstreams, want string }{
		{stub, behind, "[192.0.2.1]"},
		{stub, missing, "[127.0.0.53]"},
		{plain, behind, "[192.0.2.7 127.0.0.53]"},
		{missing, behind, "[]"},
	} {
		got, err := readHostDNS(c.path, c.upstreams)
		if err != nil || fmt.Sprint(got.Nameservers) != c.want {
			t.Errorf("%s: got %v, %v; want %s", filepath.Base(c.path), got.Nameservers, err, c.want)
		}
	}
	if _, err := readHostDNS(huge, behind); err == nil {
		t.Error("a huge file: no error")
	}
}

// What was written is read back the same.
func FuzzParseResolvConf(f *testing.F) {
	f.Add([]byte("nameserver 192.0.2.1\nsearch a b\noptions ndots:2\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		first := ParseResolvConf(data)
		if again := ParseResolvConf(first.file()); fmt.Sprint(again) != fmt.Sprint(first) {
			t.Errorf("read %+v, wrote it and read %+v", first, again)
		}
	})
}
