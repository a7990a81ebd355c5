// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/minikubelet/minikubelet/cgroups"
	"github.com/minikubelet/minikubelet/podmgr"
	"github.com/minikubelet/minikubelet/runtime/spec"
)

// planText writes previews for people.
type planText struct{ w io.Writer }

func (t planText) pod(p *podmgr.Preview) {
	fmt.Fprintf(t.w, "Pod %s/%s\n", p.Namespace, p.Name)
	t.table(func(line func(...string)) {
		line("QoS class", string(p.QOSClass))
		line("admission", admission(p))
		line("hostname", p.Hostname)
		for _, port := range p.HostPorts {
			line("hostPort", port)
		}
		if p.Users != "" {
			line("users", p.Users)
		}
		line("directory", p.Dir)
		line("cgroup", p.Cgroup.Path)
		line("  v1", values(p.Cgroup.V1))
		line("  v2", values(p.Cgroup.V2))
	})
	t.sums("Effective requests", p.Requests)
	t.sums("Effective limits", p.Limits)
	t.stages(p.Stages)
	for i := range p.Init {
		t.container("Init container", p.Dir, &p.Init[i])
	}
	for i := range p.Apps {
		t.container("Container", p.Dir, &p.Apps[i])
	}
	t.list("Problems", p.Problems)
	t.list("Warnings", p.Warnings)
}

func admission(p *podmgr.Preview) string {
	if p.Refused != nil {
		return "refused, " + p.Refused.Reason + ": " + p.Refused.Message
	}
	return "fits on this node"
}

// table aligns lines in two columns, indented.
func (t planText) table(fill func(line func(cells ...string))) {
	w := tabwriter.NewWriter(t.w, 0, 0, 2, ' ', 0)
	fill(func(cells ...string) { fmt.Fprintln(w, "  "+strings.Join(cells, "\t")) })
	_ = w.Flush() // a broken pipe shows at the end of the program
}

func (t planText) list(title string, lines []string) {
	if len(lines) == 0 {
		return
	}
	fmt.Fprintf(t.w, "\n%s\n", title)
	for _, l := range lines {
		fmt.Fprintf(t.w, "  %s\n", strings.ReplaceAll(l, "\n", "\n  "))
	}
}

func (t planText) sums(title string, sums []cgroups.Sum) {
	fmt.Fprintf(t.w, "\n%s\n", title)
	if len(sums) == 0 {
		fmt.Fprintln(t.w, "  none")
		return
	}
	t.table(func(line func(...string)) {
		for _, s := range sums {
			line(string(s.Resource), s.Effective.String(), "= "+arithmetic(s))
		}
	})
}

// arithmetic spells out one sum, the deciding part first.
func arithmetic(s cgroups.Sum) string {
	apps := "apps " + terms(s.Apps)
	if len(s.Apps) > 1 {
		apps = fmt.Sprintf("apps together %s (%s)", s.AppsTotal.String(), terms(s.Apps))
	}
	inits := "no init container"
	if len(s.Inits) > 0 {
		inits = fmt.Sprintf("largest init container %s", largest(s.Inits))
	}
	text := ""
	switch s.Decides {
	case cgroups.ByPodLevel:
		text = fmt.Sprintf("the Pod's own %s; containers alone: %s, %s", s.PodLevel.String(), apps, inits)
	case cgroups.ByInit:
		text = inits + "; more than " + apps
	default:
		text = apps
		if len(s.Inits) > 0 {
			text += "; no less than the " + inits
		}
	}
	if s.Overhead != nil {
		text += "; plus overhead " + s.Overhead.String()
	}
	return text
}

func terms(all []cgroups.Term) string {
	var parts []string
	for _, term := range all {
		parts = append(parts, term.Container+" "+term.Amount.String())
	}
	return strings.Join(parts, " + ")
}

func largest(all []cgroups.Term) string {
	most := slices.MaxFunc(all, func(a, b cgroups.Term) int { return a.Amount.Cmp(b.Amount) })
	return fmt.Sprintf("%s (%s)", most.Amount.String(), most.Container)
}

func values(list []cgroups.Value) string {
	if len(list) == 0 {
		return "no values"
	}
	var parts []string
	for _, v := range list {
		parts = append(parts, v.File+"="+quoted(v.Value))
	}
	return strings.Join(parts, " ")
}

// quoted quotes what has blanks or is empty.
func quoted(s string) string {
	if s == "" || strings.ContainsAny(s, " \t\n\"'") {
		return strconv.Quote(s)
	}
	return s
}

func (t planText) stages(stages []podmgr.Stage) {
	fmt.Fprint(t.w, "\nStart order\n")
	for i, s := range stages {
		what := ""
		switch s.Kind {
		case "sandbox":
			what = "sandbox: cgroup, volumes, namespaces, network, pause container"
		case "init":
			what = "init container " + s.Containers[0] + ", until it has succeeded"
		case "sidecar":
			what = "sidecar " + s.Containers[0] + ", goes on running once it has started"
		case "apps":
			what = "container " + s.Containers[0]
			if len(s.Containers) > 1 {
				what = "containers " + strings.Join(s.Containers, ", ") + ", at the same time"
			}
		}
		fmt.Fprintf(t.w, "  %d  %s\n", i+1, what)
	}
}

func (t planText) container(title, dir string, c *podmgr.ContainerPreview) {
	fmt.Fprintf(t.w, "\n%s %s\n", title, c.Name)
	t.table(func(line func(...string)) {
		line("image", fmt.Sprintf("%s (imagePullPolicy %s)", c.Image, c.PullPolicy))
		if c.Spec != nil {
			process(c, line)
			namespaces(c.Spec, line)
			mounts(c.Spec, dir, line)
		}
		line("cgroup", "<cgroup>/"+path.Base(c.Cgroup.Path)[:13]+"…")
		line("  v1", values(c.Cgroup.V1))
		line("  v2", values(c.Cgroup.V2))
	})
}

func process(c *podmgr.ContainerPreview, line func(...string)) {
	p := c.Spec.Process
	var argv []string
	for _, a := range p.Args {
		argv = append(argv, quoted(a))
	}
	line("command", strings.Join(argv, " "))
	if cwd := p.Cwd; c.WorkingDirFromImage {
		line("working dir", "the image's, else "+cwd)
	} else {
		line("working dir", cwd)
	}
	user := fmt.Sprintf("%d:%d", p.User.UID, p.User.GID)
	if c.UserFromImage {
		user = "the image's, else root"
	}
	if groups := p.User.AdditionalGids; len(groups) > 1 {
		user += fmt.Sprintf(", groups %v", groups)
	}
	line("user", user)
	line("capabilities", capabilities(p.Capabilities))
	line("security", strings.Join(security(c.Spec), ", "))
	if p.OOMScoreAdj != nil {
		score := strconv.Itoa(*p.OOMScoreAdj)
		if *p.OOMScoreAdj != c.OOMScoreAdj {
			score += fmt.Sprintf(" (%d wanted: lower than this process may set without CAP_SYS_RESOURCE)", c.OOMScoreAdj)
		}
		line("oom_score_adj", score)
	}
	for i, e := range p.Env {
		line(map[bool]string{true: "environment"}[i == 0], quoted(e))
	}
	line("", "and what the image sets")
}

// manyCapabilities are told by their number.
const manyCapabilities = 20

func capabilities(c *specs.LinuxCapabilities) string {
	if c == nil || len(c.Bounding) == 0 {
		return "none"
	}
	if len(c.Bounding) > manyCapabilities {
		return fmt.Sprintf("%d", len(c.Bounding))
	}
	var names []string
	for _, name := range c.Bounding {
		names = append(names, strings.TrimPrefix(name, "CAP_"))
	}
	return strings.Join(names, " ")
}

func security(s *specs.Spec) []string {
	out := []string{"no seccomp filter"}
	if s.Linux.Seccomp != nil {
		out[0] = "default seccomp filter"
	}
	if s.Process.NoNewPrivileges {
		out = append(out, "no new privileges")
	}
	if s.Root.Readonly {
		out = append(out, "read-only root file system")
	}
	if len(s.Linux.MaskedPaths) == 0 {
		out = append(out, "/proc and /sys unmasked")
	}
	if len(s.Linux.Devices) > 0 {
		out = append(out, fmt.Sprintf("privileged: %d devices of the host", len(s.Linux.Devices)))
	}
	return out
}

// namespaces tells apart the container's own, the Pod's and the host's.
func namespaces(s *specs.Spec, line func(...string)) {
	var own, pod, host []string
	for _, kind := range []specs.LinuxNamespaceType{specs.MountNamespace, specs.PIDNamespace, specs.IPCNamespace, specs.UTSNamespace, specs.NetworkNamespace, specs.UserNamespace, specs.CgroupNamespace} {
		i := slices.IndexFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == kind })
		switch {
		case i < 0:
			host = append(host, string(kind))
		case s.Linux.Namespaces[i].Path == "":
			own = append(own, string(kind))
		default:
			pod = append(pod, string(kind))
		}
	}
	var parts []string
	for _, g := range []struct {
		title string
		names []string
	}{{"own ", own}, {"the Pod's ", pod}, {"the host's ", host}} {
		if len(g.names) > 0 {
			parts = append(parts, g.title+strings.Join(g.names, " "))
		}
	}
	line("namespaces", strings.Join(parts, "; "))
}

// mounts shows what is bound in; the kernel's own file systems are in the JSON.
// dir is the Pod's directory.
func mounts(s *specs.Spec, dir string, line func(...string)) {
	first := true
	for _, m := range s.Mounts {
		if m.Type != "bind" {
			continue
		}
		title := ""
		if first {
			title, first = "mounts", false
		}
		access := "rw"
		for _, o := range m.Options {
			if o == "ro" || o == "rro" {
				access = o
			}
		}
		if slices.Contains(m.Options, spec.IDMapped) {
			access += " idmap"
		}
		line(title, m.Destination+" "+access+" from "+strings.Replace(m.Source, dir+"/", "<directory>/", 1))
	}
}
