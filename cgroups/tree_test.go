// SPDX-License-Identifier: Apache-2.0

package cgroups

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// These tests use the machine's own control groups, whatever their version, below a
// root that each test makes and removes.

func openTree(t testing.TB) *Tree {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	root := fmt.Sprintf("/minikubelet-test-%d-%x", os.Getpid(), time.Now().UnixNano())
	tree, err := Open(Config{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		pods, err := tree.Pods()
		for _, uid := range pods {
			err = errors.Join(err, tree.KillPod(ctx, uid), tree.RemovePod(ctx, uid))
		}
		if err = errors.Join(err, tree.Remove(ctx)); err != nil {
			t.Error(err)
		}
		for _, h := range tree.hierarchies {
			if _, err := os.Stat(filepath.Join(h.mount, root)); err == nil {
				t.Errorf("%s%s is left over", h.mount, root)
			}
		}
	})
	return tree
}

// need skips the test when the machine lacks a controller.
func need(t testing.TB, tree *Tree, controllers ...string) {
	t.Helper()
	for _, c := range controllers {
		if missing, ok := tree.Missing()[c]; ok {
			t.Skipf("no %s controller: %s", c, missing)
		}
	}
}

// byMode picks what holds for the machine.
func byMode[V any](tree *Tree, v1, v2 V) V {
	if tree.Mode() == V2 {
		return v2
	}
	return v1
}

// makeContainer makes a container's cgroup as the OCI runtime does.
func makeContainer(t *testing.T, tree *Tree, path string, values ...Value) {
	t.Helper()
	for _, h := range tree.hierarchies {
		if h.v2 || len(h.controllers) > 0 {
			if err := os.MkdirAll(filepath.Join(h.mount, path), 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, v := range values {
		if err := writeFile(filepath.Join(tree.home[v.Controller], path, v.File), v.Value); err != nil {
			t.Fatal(err)
		}
	}
}

// startIn runs a shell script in a cgroup: it waits on its standard input until its
// process is in there.
func startIn(t *testing.T, tree *Tree, path, script string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", "read go; "+script)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for _, h := range tree.hierarchies {
		procs := filepath.Join(h.mount, path, "cgroup.procs")
		if _, err := os.Stat(procs); err != nil || slices.Equal(h.controllers, []string{"cpuset"}) {
			continue // an empty cpuset takes no process
		}
		if err := writeFile(procs, strconv.Itoa(cmd.Process.Pid)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := io.WriteString(in, "\n"); err != nil {
		t.Fatal(err)
	}
	in.Close()
	return cmd
}

func TestOpenIsIdempotentAndTellsWhatThereIs(t *testing.T) {
	tree := openTree(t)
	again, err := Open(Config{Root: tree.Root()})
	if err != nil {
		t.Fatal(err)
	}
	if again.Mode() != tree.Mode() || !slices.Equal(again.Controllers(), tree.Controllers()) {
		t.Errorf("opened again: %s %v, before %s %v", again.Mode(), again.Controllers(), tree.Mode(), tree.Controllers())
	}
	if n := len(tree.Controllers()) + len(tree.Missing()); n != len(usedControllers) {
		t.Errorf("controllers %v, missing %v", tree.Controllers(), tree.Missing())
	}
	t.Logf("mode %s, controllers %v, missing %v, options %+v", tree.Mode(), tree.Controllers(), tree.Missing(), tree.Options())
}

func TestOpenRefusesBadRoots(t *testing.T) {
	for _, root := range []string{"", "/", "x", "/a/../b", "/a/", "../a"} {
		if _, err := Open(Config{Root: root}); err == nil {
			t.Errorf("root %q was taken", root)
		}
	}
}

func TestPodValuesAreTheKernels(t *testing.T) {
	tree := openTree(t)
	need(t, tree, "cpu", "memory", "pids")
	opts := tree.Options()
	opts.PidsLimit = 77
	pod := podOf([]corev1.Container{limits("cpu", "1", "memory", "128Mi")}, limits("cpu", "500m", "memory", "64Mi"))
	qos := QOSClass(pod)
	if err := tree.CreatePod("u1", qos, PodResources(pod, opts)); err != nil {
		t.Fatal(err)
	}
	expect(t, tree, "u1", byMode(tree,
		map[string]string{"cpu.shares": "1024", "cpu.cfs_quota_us": "100000", "memory.limit_in_bytes": "134217728", "pids.max": "77"},
		map[string]string{"cpu.weight": "39", "cpu.max": "100000 100000", "memory.max": "134217728", "pids.max": "77"}))

	// The same Pod again, now without limits: they are lifted.
	free := podOf(nil, requests("cpu", "100m"))
	if err := tree.CreatePod("u1", qos, PodResources(free, tree.Options())); err != nil {
		t.Fatal(err)
	}
	expect(t, tree, "u1", byMode(tree,
		map[string]string{"cpu.shares": "102", "cpu.cfs_quota_us": "-1", "memory.limit_in_bytes": "9223372036854771712", "pids.max": "max"},
		map[string]string{"cpu.weight": "4", "cpu.max": "max 100000", "memory.max": "max", "pids.max": "max"}))
}

func expect(t *testing.T, tree *Tree, uid string, want map[string]string) {
	t.Helper()
	got, err := tree.ReadPodValues(uid)
	if err != nil {
		t.Fatal(err)
	}
	for file, value := range want {
		if got[file] != value {
			t.Errorf("%s: got %q, want %q", file, got[file], value)
		}
	}
}

func TestQOSParents(t *testing.T) {
	tree := openTree(t)
	need(t, tree, "cpu")
	if err := tree.UpdateQOS(1500); err != nil {
		t.Fatal(err)
	}
	file := byMode(tree, "cpu.shares", "cpu.weight")
	for qos, want := range map[corev1.PodQOSClass]string{
		corev1.PodQOSBurstable:  byMode(tree, "1536", "59"),
		corev1.PodQOSBestEffort: byMode(tree, "2", "1"),
	} {
		got := readFields(filepath.Join(tree.home["cpu"], tree.qosPath(qos), file))
		if len(got) != 1 || got[0] != want {
			t.Errorf("%s: %s is %v, want %s", qos, file, got, want)
		}
	}
}

func TestPodsAreFoundByLooking(t *testing.T) {
	tree := openTree(t)
	for uid, qos := range map[string]corev1.PodQOSClass{"c": corev1.PodQOSBestEffort, "a": corev1.PodQOSGuaranteed, "b": corev1.PodQOSBurstable} {
		if err := tree.CreatePod(uid, qos, PodResources(podOf(nil, corev1.Container{}), tree.Options())); err != nil {
			t.Fatal(err)
		}
	}
	again, err := Open(Config{Root: tree.Root()})
	if err != nil {
		t.Fatal(err)
	}
	if uids, err := again.Pods(); err != nil || !slices.Equal(uids, []string{"a", "b", "c"}) {
		t.Errorf("pods %v, %v", uids, err)
	}
	if err := again.Remove(t.Context()); err == nil {
		t.Error("a root with pods was removed")
	}
	if uids, _ := again.Pods(); len(uids) != 3 {
		t.Errorf("after the refused removal: %v", uids)
	}
}

func TestTwoTreesAreStrangers(t *testing.T) {
	one, two := openTree(t), openTree(t)
	if err := one.CreatePod("same", corev1.PodQOSBurstable, nil); err != nil {
		t.Fatal(err)
	}
	if err := two.RemovePod(t.Context(), "same"); err != nil {
		t.Fatal(err)
	}
	if uids, err := one.Pods(); err != nil || len(uids) != 1 {
		t.Errorf("pods %v, %v", uids, err)
	}
}

func TestKillAndRemoveAreSafeWithoutAPod(t *testing.T) {
	tree := openTree(t)
	if err := tree.KillPod(t.Context(), "none"); err != nil {
		t.Error(err)
	}
	if err := tree.RemovePod(t.Context(), "none"); err != nil {
		t.Error(err)
	}
	if _, err := tree.ReadPodValues("none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("values of no pod: %v", err)
	}
	for _, uid := range []string{"", "../x", "a/b", "a\x00", strings.Repeat("x", 300)} {
		if tree.CreatePod(uid, corev1.PodQOSBurstable, nil) == nil || tree.KillPod(t.Context(), uid) == nil || tree.RemovePod(t.Context(), uid) == nil {
			t.Errorf("UID %q was taken", uid)
		}
	}
}

func TestKillPodEndsEveryProcess(t *testing.T) {
	tree := openTree(t)
	if err := tree.CreatePod("u", corev1.PodQOSBurstable, nil); err != nil {
		t.Fatal(err)
	}
	var started []*exec.Cmd
	for _, name := range []string{"one", "two"} {
		path := tree.ContainerPath("u", corev1.PodQOSBurstable, name)
		makeContainer(t, tree, path)
		// A tree of processes that ignores polite signals and keeps making new ones.
		started = append(started, startIn(t, tree, path,
			`trap "" TERM INT HUP; sleep 1000 & sleep 1000 & while :; do (sleep 1000 &); sleep 0.05; done`))
	}
	bystander := exec.Command("/bin/sleep", "1000")
	if err := bystander.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = bystander.Process.Kill(); _ = bystander.Wait() }()
	main := filepath.Join(tree.main, tree.PodPath("u", corev1.PodQOSBurstable))
	wait(t, "processes in the cgroup", func() bool { pids, _ := processes(main); return len(pids) >= 6 })

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	err := tree.RemovePod(ctx, "u")
	cancel()
	if err == nil {
		t.Error("a cgroup with live processes was removed")
	}
	ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := tree.KillPod(ctx, "u"); err != nil {
		t.Fatal(err)
	}
	if pids, err := processes(main); len(pids) > 0 || err != nil {
		t.Errorf("left: %v, %v", pids, err)
	}
	for _, cmd := range started {
		_ = cmd.Wait()
		if s := cmd.ProcessState.String(); s != "signal: killed" {
			t.Errorf("ended by %q", s)
		}
	}
	if err := bystander.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("a process outside was killed: %v", err)
	}
	if err := tree.RemovePod(ctx, "u"); err != nil {
		t.Error(err)
	}
	if dirs := tree.podDirs("u"); len(dirs) > 0 {
		t.Errorf("left: %v", dirs)
	}
	if err := tree.RemovePod(ctx, "u"); err != nil {
		t.Errorf("removed twice: %v", err)
	}
}

// A hybrid machine has cgroup.kill in its v2 hierarchy; here it is done without.
func TestKillBelowWithoutTheKernelsHelp(t *testing.T) {
	tree := openTree(t)
	if tree.Mode() == V2 {
		t.Skip("cgroup v2 has cgroup.kill")
	}
	if err := tree.CreatePod("u", corev1.PodQOSBurstable, nil); err != nil {
		t.Fatal(err)
	}
	path := tree.ContainerPath("u", corev1.PodQOSBurstable, "c")
	makeContainer(t, tree, path)
	cmd := startIn(t, tree, path, `trap "" TERM; while :; do (sleep 1000 &); done`)
	dir := filepath.Join(tree.main, tree.PodPath("u", corev1.PodQOSBurstable))
	wait(t, "processes in the cgroup", func() bool { pids, _ := processes(dir); return len(pids) >= 4 })
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		n, err := killBelow(dir)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d processes left", n)
		}
	}
	_ = cmd.Wait()
	if s := cmd.ProcessState.String(); s != "signal: killed" {
		t.Errorf("ended by %q", s)
	}
}

func TestKillPodGivesUpWithItsContext(t *testing.T) {
	tree := openTree(t)
	path := tree.ContainerPath("u", corev1.PodQOSGuaranteed, "c")
	if err := tree.CreatePod("u", corev1.PodQOSGuaranteed, nil); err != nil {
		t.Fatal(err)
	}
	makeContainer(t, tree, path)
	startIn(t, tree, path, "sleep 1000")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := tree.KillPod(ctx, "u"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// A container ends with its first process, at its signal; another one's is let alone,
// and waiting for one that takes no notice ends with the context.
func TestEndContainer(t *testing.T) {
	tree := openTree(t)
	if err := tree.CreatePod("u", corev1.PodQOSBurstable, nil); err != nil {
		t.Fatal(err)
	}
	start := func(name, script string) (string, *exec.Cmd) {
		path := tree.ContainerPath("u", corev1.PodQOSBurstable, name)
		makeContainer(t, tree, path)
		cmd := startIn(t, tree, path, script)
		dir := filepath.Join(tree.main, path)
		wait(t, "processes in "+name, func() bool { pids, _ := processes(dir); return len(pids) == 2 })
		return path, cmd
	}
	polite, first := start("polite", `trap "exit 7" USR1; sleep 1000 & wait`)
	deaf, second := start("deaf", `trap "" USR1; sleep 1000 & wait`)
	exited := make(chan struct{})
	go func() { _ = first.Wait(); close(exited) }()
	if err := tree.EndContainer(t.Context(), polite, first.Process.Pid, syscall.SIGUSR1); err != nil {
		t.Error(err)
	}
	<-exited
	if code := first.ProcessState.ExitCode(); code != 7 {
		t.Errorf("it exits with %d", code)
	}
	if err := tree.EndContainer(t.Context(), polite, second.Process.Pid, syscall.SIGKILL); err != nil {
		t.Errorf("a process that is not in the container: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := tree.EndContainer(ctx, deaf, second.Process.Pid, syscall.SIGUSR1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if err := tree.EndContainer(t.Context(), "/none", 1, syscall.SIGTERM); err != nil {
		t.Errorf("a container that is not there: %v", err)
	}
	if err := tree.KillPod(t.Context(), "u"); err != nil {
		t.Error(err)
	}
	_ = second.Wait()
}

func TestContainerOOMKills(t *testing.T) {
	tree := openTree(t)
	need(t, tree, "memory")
	if err := tree.CreatePod("u", corev1.PodQOSBurstable, nil); err != nil {
		t.Fatal(err)
	}
	path := tree.ContainerPath("u", corev1.PodQOSBurstable, "c")
	opts := tree.Options()
	pod := podOf(nil, limits("memory", "16Mi"))
	values := ContainerFiles(tree.Mode(), ContainerResources(pod, &pod.Spec.Containers[0], opts))
	makeContainer(t, tree, path, values...)
	if n, err := tree.ContainerOOMKills(path); n != 0 || err != nil {
		t.Fatalf("before: %d, %v", n, err)
	}
	// tail keeps the whole line without an end in memory.
	cmd := startIn(t, tree, path, "head -c 200000000 /dev/zero | tail -n 1 | wc -c; exit 3")
	_ = cmd.Wait()
	wait(t, "an OOM kill", func() bool { n, _ := tree.ContainerOOMKills(path); return n > 0 })
	for _, bad := range []string{"/elsewhere/c", tree.Root() + "/../x", path + "/.."} {
		if _, err := tree.ContainerOOMKills(bad); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
	if _, err := tree.ContainerOOMKills(path + "-none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no such container: %v", err)
	}
}

func TestAgentIsNeverMoved(t *testing.T) {
	before, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	tree := openTree(t)
	if err := tree.CreatePod("u", corev1.PodQOSBurstable, nil); err != nil {
		t.Fatal(err)
	}
	if after, _ := os.ReadFile("/proc/self/cgroup"); !bytes.Equal(before, after) {
		t.Errorf("moved from\n%sto\n%s", before, after)
	}
}

func wait(t *testing.T, what string, there func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !there(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no %s after a minute", what)
		}
	}
}

func BenchmarkPod(b *testing.B) {
	tree := openTree(b)
	r := PodResources(podOf(nil, limits("cpu", "500m", "memory", "64Mi")), tree.Options())
	var create, remove time.Duration
	for b.Loop() {
		t0 := time.Now()
		if err := tree.CreatePod("u", corev1.PodQOSGuaranteed, r); err != nil {
			b.Fatal(err)
		}
		t1 := time.Now()
		if err := tree.RemovePod(b.Context(), "u"); err != nil {
			b.Fatal(err)
		}
		create, remove = create+t1.Sub(t0), remove+time.Since(t1)
	}
	b.ReportMetric(float64(create.Microseconds())/float64(b.N), "µs/create")
	b.ReportMetric(float64(remove.Microseconds())/float64(b.N), "µs/remove")
}

func TestChildOfAPod(t *testing.T) {
	tree := openTree(t)
	need(t, tree, "cpu", "pids")
	if err := tree.CreatePod("u1", corev1.PodQOSBestEffort, nil); err != nil {
		t.Fatal(err)
	}
	for range 2 { // once more is no error
		dirs, err := tree.CreateChild("u1", corev1.PodQOSBestEffort, "sandbox", SandboxResources())
		if err != nil || len(dirs) != len(tree.mounts()) {
			t.Fatalf("%q, %v", dirs, err)
		}
		for _, dir := range dirs {
			if procs, err := processes(dir); err != nil || len(procs) != 0 {
				t.Errorf("%s: %v, %v", dir, procs, err)
			}
		}
	}
	file := byMode(tree, "cpu.shares", "cpu.weight")
	at := filepath.Join(tree.home["cpu"], tree.ContainerPath("u1", corev1.PodQOSBestEffort, "sandbox"), file)
	if data, err := os.ReadFile(at); err != nil || strings.TrimSpace(string(data)) != byMode(tree, "2", "1") {
		t.Errorf("%s is %q, %v", at, data, err)
	}
	if _, err := tree.CreateChild("none", corev1.PodQOSBestEffort, "sandbox", SandboxResources()); err == nil {
		t.Error("a child without its Pod")
	}
	if err := tree.RemovePod(t.Context(), "u1"); err != nil {
		t.Error(err)
	}
}
