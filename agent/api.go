// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/minikubelet/minikubelet/apiserver"
	"github.com/minikubelet/minikubelet/apiserver/pki"
	"github.com/minikubelet/minikubelet/apiserver/rbac"
	"github.com/minikubelet/minikubelet/podmgr"
	"github.com/minikubelet/minikubelet/podmgr/plan"
)

const (
	// listenNone turns the network listener off.
	listenNone = "none"
	// listenDefault is where the machine's main agent listens.
	listenDefault = "127.0.0.1:6443"
	// Other agents listen on ports from portFirst on, derived from their names.
	portFirst, ports = 20000, 10000
	// renewEvery is how often certificates are looked at, at least: the clock may have been
	// set. What could not be renewed waits for renewAgain.
	renewEvery, renewAgain = 10 * time.Minute, time.Minute
)

// front is the API with its listeners.
type front struct {
	agent   *Agent
	server  *apiserver.Server
	streams *streams
	socket  net.Listener
	tcp     net.Listener // nil: the socket alone
	pods    net.Listener // where Pods connect; nil: not, or to tcp
	pki     *pki.Dir
}

// openFront listens and writes the kubeconfig. What clients run in containers ends
// with ctx.
func (a *Agent) openFront(ctx context.Context) (_ *front, err error) {
	var users *apiserver.TokenFile
	if a.cfg.TokenAuthFile != "" {
		if users, err = apiserver.LoadTokenFile(a.cfg.TokenAuthFile); err != nil {
			return nil, err
		}
	}
	if err := rbac.Bootstrap(a.store); err != nil {
		return nil, err
	}
	streams := &streams{agent: a, ctx: ctx}
	f := &front{agent: a, streams: streams, server: apiserver.New(apiserver.Config{
		Store: a.store, NodeName: a.cfg.NodeName, Version: KubernetesVersion(), Program: released(a.cfg.Version),
		Summary: plan.Summary, AskToEnd: podmgr.AskToEnd, OwnsCondition: plan.OwnsCondition, TellScheduled: a.manager.Load().SchedulerEvent, Logs: logs{a}, Streams: streams, Stats: a.stats,
		Tokens: a.tokens, TokenFile: users, MountTokens: a.servesPods(), Log: a.log,
	})}
	if f.socket, err = apiserver.Listen(filepath.Join(a.cfg.RunDir, "api.sock")); err != nil {
		return nil, err
	}
	if a.cfg.Listen == listenNone {
		return f, nil
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.socket.Close())
		}
	}()
	if f.tcp, err = a.cfg.listen(); err != nil {
		return nil, err
	}
	if a.servesPods() {
		if err = f.listenPods(ctx); err != nil {
			return nil, errors.Join(err, f.tcp.Close())
		}
	}
	if f.pki, err = pki.Open(a.cfg.pkiDir(), f.names); err != nil {
		return nil, errors.Join(err, f.closeNetwork())
	}
	a.apiPort = int32(f.tcp.Addr().(*net.TCPAddr).Port)
	f.writeKubeconfig()
	return f, nil
}

// close gives back the listeners of a front that is not run.
func (f *front) close() error {
	return errors.Join(f.socket.Close(), f.closeNetwork())
}

func (f *front) closeNetwork() error {
	var errs []error
	for _, l := range []net.Listener{f.tcp, f.pods} {
		if l != nil {
			errs = append(errs, l.Close())
		}
	}
	return errors.Join(errs...)
}

// listen opens the configured address. The default one gives way when another
// program has it.
func (c *Config) listen() (net.Listener, error) {
	addresses := []string{c.Listen}
	if c.Listen == "" {
		addresses = c.defaultListen()
	}
	var l net.Listener
	var err error
	for _, address := range addresses {
		if l, err = net.Listen("tcp", address); !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("API listener: %w; choose another address with --listen, or --listen none", err)
	}
	return l, nil
}

// defaultListen are the addresses to try: a port that stays the same over
// restarts, so that copies of the kubeconfig stay good, and then any.
func (c *Config) defaultListen() []string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(c.DataDir)) // never fails
	derived := fmt.Sprintf("127.0.0.1:%d", portFirst+h.Sum32()%ports)
	if c.instance() == "" {
		return []string{listenDefault, derived, "127.0.0.1:0"}
	}
	return []string{derived, "127.0.0.1:0"}
}

// names are those by which clients reach the server; the node's address among them may
// change.
func (f *front) names() []string {
	names := []string{"localhost", "127.0.0.1", "::1", f.agent.cfg.NodeName, "kubernetes", "kubernetes.default", "kubernetes.default.svc"}
	if ip := f.tcp.Addr().(*net.TCPAddr).IP; ip.IsUnspecified() {
		names = append(names, f.agent.address.ips()...)
	} else if !ip.IsLoopback() {
		names = append(names, ip.String())
	}
	if f.agent.servesPods() {
		names = append(names, f.agent.network.Gateway().String())
	}
	return names
}

// URL is where clients reach the API.
func (f *front) url() string {
	addr := f.tcp.Addr().(*net.TCPAddr)
	host := addr.IP.String()
	if addr.IP.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "https://" + net.JoinHostPort(host, fmt.Sprint(addr.Port))
}

// writeKubeconfig degrades: a read-only /etc keeps nobody from running Pods.
func (f *front) writeKubeconfig() {
	path := f.agent.cfg.KubeconfigPath()
	data, err := f.pki.Kubeconfig(f.url(), f.agent.cfg.name())
	if err == nil {
		if old, _ := os.ReadFile(path); string(old) == string(data) {
			return
		}
		err = errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), pki.WriteFile(path, data))
	}
	if err != nil {
		f.agent.log.Warn("cannot write the kubeconfig; name another file with --kubeconfig", "err", err)
	}
}

// run serves until ctx ends.
func (f *front) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer f.streams.work.Wait()
	defer cancel()
	done, serving := make(chan error, 3), 1
	go f.aggregate(ctx)
	go f.collect(ctx)
	go f.schedule(ctx)
	go f.keepQuotas(ctx)
	go f.keepAccounts(ctx)
	go func() {
		done <- apiserver.Serve(ctx, f.socket, nil, newOwnAPI(f.agent, f.server.Trusted()), f.agent.log)
	}()
	if f.tcp == nil {
		return <-done
	}
	for _, l := range []net.Listener{f.tcp, f.pods} {
		if l != nil {
			serving++
			go func() { done <- apiserver.Serve(ctx, l, f.pki.ServerConfig(), f.server, f.agent.log) }()
		}
	}
	go f.keepAccountTokens(ctx)
	go f.renew(ctx)
	err := <-done
	cancel()
	for range serving - 1 {
		err = errors.Join(err, <-done)
	}
	return err
}

// collect removes what nothing needs any more.
func (f *front) collect(ctx context.Context) {
	if err := f.server.Collect(ctx); err != nil {
		f.agent.log.Error("objects without owners and ending namespaces are no longer removed; restart the agent", "err", err)
	}
}

// schedule gives Pods that wait for the node their place.
func (f *front) schedule(ctx context.Context) {
	if err := f.server.Schedule(ctx); err != nil {
		f.agent.log.Error("Pods that wait for the node are no longer placed; restart the agent", "err", err)
	}
}

// keepQuotas counts what is used of ResourceQuotas.
func (f *front) keepQuotas(ctx context.Context) {
	if err := f.server.KeepQuotas(ctx); err != nil {
		f.agent.log.Error("the status of ResourceQuotas is no longer kept up to date; restart the agent", "err", err)
	}
}

// aggregate keeps the aggregated ClusterRoles' rules.
func (f *front) aggregate(ctx context.Context) {
	if err := rbac.Aggregate(ctx, f.agent.store, f.agent.log); err != nil {
		f.agent.log.Error("aggregated ClusterRoles are no longer kept up to date; restart the agent", "err", err)
	}
}

// renew keeps the certificates good.
func (f *front) renew(ctx context.Context) {
	failed := false
	for {
		wait := renewAgain
		if !failed {
			wait = min(max(time.Until(f.pki.Due()), 0)+time.Second, renewEvery)
		}
		select {
		case <-ctx.Done():
			return
		case <-f.agent.namesChanged:
		case <-time.After(wait):
		}
		changed, err := f.pki.Renew()
		if failed = err != nil; failed {
			f.agent.log.Error("cannot renew the API's certificates; it is tried again", "err", err)
		}
		if changed {
			f.writeKubeconfig()
			if err := errors.Join(f.accounts().putAll(), f.accountTokens().putAll("")); err != nil {
				f.agent.log.Error("cannot renew the CA in the namespaces; restart the agent", "err", err)
			}
		}
	}
}

// released is a version of this program that stands for one state of it, "" for one
// that does not: a build of what nobody has committed.
func released(version string) string {
	if version == "development" || version == "unknown" || strings.HasSuffix(version, "-dirty") {
		return ""
	}
	return version
}

// KubernetesVersion is that of the API: the version of the module that is built
// in, like v1.36.3.
func KubernetesVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == "k8s.io/kubernetes" {
				return m.Version
			}
		}
	}
	return "v0.0.0"
}
