// SPDX-License-Identifier: Apache-2.0

package network

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Limits of Kubernetes on a Pod's resolv.conf (k8s.io/kubernetes validation and
// KEP-2595), and of the resolver on one search domain.
const (
	maxNameservers  = 3
	maxSearches     = 32
	maxSearchChars  = 2048
	maxSearchDomain = 253
	maxResolvConf   = 1 << 20 // bytes of the host's file that are looked at
)

// Where the host's resolver settings are. systemd-resolved's stub listens on the
// host's loopback, where a Pod cannot reach it; its second file lists the
// servers behind it.
const (
	DefaultResolvConf = "/etc/resolv.conf"
	stubUpstreams     = "/run/systemd/resolve/resolv.conf"
	stubAddress       = "127.0.0.53"
)

// DNS is what a resolv.conf says.
type DNS struct {
	Nameservers []string
	Searches    []string
	Options     []string // name or name:value
}

// ReadHostDNS reads the host's resolver settings. When they name nothing but
// systemd-resolved's stub, the servers behind it are read instead. A missing
// file is no error: the settings are then empty, as for the resolver itself.
func ReadHostDNS(path string) (DNS, error) {
	return readHostDNS(path, stubUpstreams)
}

func readHostDNS(path, upstreams string) (DNS, error) {
	dns, err := readResolvConf(path)
	if err != nil {
		return DNS{}, err
	}
	onlyStub := len(dns.Nameservers) > 0 && !slices.ContainsFunc(dns.Nameservers, func(s string) bool { return s != stubAddress })
	if !onlyStub {
		return dns, nil
	}
	behind, err := readResolvConf(upstreams)
	if err != nil || len(behind.Nameservers) == 0 {
		return dns, err
	}
	return behind, nil
}

func readResolvConf(path string) (DNS, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return DNS{}, nil
	}
	if err != nil {
		return DNS{}, fmt.Errorf("resolver settings of the host: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxResolvConf+1))
	if err != nil {
		return DNS{}, fmt.Errorf("resolver settings of the host: %w", err)
	}
	if len(data) > maxResolvConf {
		return DNS{}, fmt.Errorf("resolver settings of the host: %s is larger than %d bytes", path, maxResolvConf)
	}
	return ParseResolvConf(data), nil
}

// ParseResolvConf reads a resolv.conf as the kubelet does: nameservers add up,
// the last search line counts, options add up and a later one replaces an
// earlier one of the same name. Every other line is skipped, "domain" included.
func ParseResolvConf(data []byte) DNS {
	var dns DNS
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) == 0 || strings.HasPrefix(f[0], "#") {
			continue
		}
		switch f[0] {
		case "nameserver":
			if len(f) > 1 {
				dns.Nameservers = append(dns.Nameservers, f[1])
			}
		case "search":
			dns.Searches = nil
			for _, s := range f[1:] {
				if s = strings.TrimSuffix(s, "."); s != "" {
					dns.Searches = append(dns.Searches, s)
				}
			}
		case "options":
			for _, o := range f[1:] {
				dns.Options = setOption(dns.Options, o)
			}
		}
	}
	return dns
}

// setOption adds an option or replaces the one of its name, in its place.
func setOption(options []string, option string) []string {
	name, _, _ := strings.Cut(option, ":")
	for i, o := range options {
		if n, _, _ := strings.Cut(o, ":"); n == name {
			options = slices.Clone(options)
			options[i] = option
			return options
		}
	}
	return append(options, option)
}

// ResolvConf returns the contents of a Pod's /etc/resolv.conf for its dnsPolicy
// and dnsConfig, and warnings for the Pod's events. There is no cluster DNS
// here, so ClusterFirst and ClusterFirstWithHostNet act as Default, which is
// what the kubelet does without one (its event MissingClusterDNS); the kubelet
// warns about that for each Pod, we do not: it is so for every Pod of the node.
func ResolvConf(spec *corev1.PodSpec, host DNS) ([]byte, []string) {
	dns := DNS{}
	if spec.DNSPolicy != corev1.DNSNone {
		dns = host
	}
	if c := spec.DNSConfig; c != nil {
		dns.Nameservers = union(dns.Nameservers, c.Nameservers)
		dns.Searches = union(dns.Searches, c.Searches)
		for _, o := range c.Options {
			s := o.Name
			if o.Value != nil && *o.Value != "" {
				s += ":" + *o.Value
			}
			dns.Options = setOption(slices.Clip(dns.Options), s)
		}
	}
	dns, warnings := limit(dns)
	if !spec.HostNetwork {
		warnings = append(warnings, unreachable(dns.Nameservers)...)
	}
	return dns.file(), warnings
}

// union appends what is not there yet.
func union(a, b []string) []string {
	var out []string
	for _, s := range slices.Concat(a, b) {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// limit cuts the settings to what resolvers take, and says so.
func limit(dns DNS) (DNS, []string) {
	var warnings []string
	if len(dns.Nameservers) > maxNameservers {
		dns.Nameservers = dns.Nameservers[:maxNameservers]
		warnings = append(warnings, fmt.Sprintf("Nameserver limits were exceeded: only the first %d are used: %s", maxNameservers, strings.Join(dns.Nameservers, " ")))
	}
	var kept []string
	chars := 0
	for i, s := range dns.Searches {
		if i >= maxSearches {
			break
		}
		// A domain that is too long aborts some resolvers (glibc 2.28).
		if len(s) > maxSearchDomain {
			continue
		}
		if chars += len(s); len(kept) > 0 {
			chars++
		}
		if chars > maxSearchChars {
			break
		}
		kept = append(kept, s)
	}
	if len(kept) < len(dns.Searches) {
		warnings = append(warnings, fmt.Sprintf("Search line limits were exceeded (%d domains, %d characters, %d for each): %d of %d domains are used: %s",
			maxSearches, maxSearchChars, maxSearchDomain, len(kept), len(dns.Searches), strings.Join(kept, " ")))
	}
	dns.Searches = kept
	return dns, warnings
}

// unreachable warns about nameservers on the host's loopback: a Pod's loopback
// is its own.
func unreachable(servers []string) []string {
	var bad []string
	for _, s := range servers {
		if ip, err := netip.ParseAddr(s); err == nil && ip.IsLoopback() {
			bad = append(bad, s)
		}
	}
	if len(bad) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("the nameserver %s is on the host's loopback, which a Pod cannot reach: names will not resolve; name a server in dnsConfig.nameservers, or in a resolv.conf for the agent", strings.Join(bad, ", "))}
}

// file formats the settings.
func (d DNS) file() []byte {
	var b bytes.Buffer
	if len(d.Searches) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(d.Searches, " "))
	}
	for _, s := range d.Nameservers {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	if len(d.Options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(d.Options, " "))
	}
	return b.Bytes()
}
