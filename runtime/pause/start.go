// SPDX-License-Identifier: Apache-2.0

package pause

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strconv"
	"strings"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// AnnotationCgroups of an OCI specification lists the directories of the process' cgroup, one line each: Start is to run the process.
// They exist, and somebody else removes them. Without it the OCI runtime runs the process.
const AnnotationCgroups = "minikubelet/pause-cgroups"

// Cgroups are the directories that the specification's annotation lists; nil without one.
func Cgroups(s *specs.Spec) []string {
	if list := s.Annotations[AnnotationCgroups]; list != "" {
		return strings.Split(list, "\n")
	}
	return nil
}

// Start runs the process of a specification that Pause of the package spec made with an annotation for its cgroups: as its user with
// no capabilities and no way to get any, in its namespaces and cgroup. It dies with the caller's process, and holds one of that
// one's threads until then. The caller reaps it, and closes its file descriptor. The root is entered with chroot: there is no mount namespace
// of its own, since the process can name no file, and would keep the host's mounts alive.
func Start(s *specs.Spec) (pid, pidfd int, err error) {
	if s.Process == nil || len(s.Process.Args) == 0 || s.Root == nil || s.Linux == nil || !filepath.IsAbs(s.Root.Path) {
		return 0, -1, errors.New("pause: the specification has no process or no root")
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return 0, -1, fmt.Errorf("pause: %w", err)
	}
	defer null.Close()
	attr := &syscall.ProcAttr{
		Dir: "/", Env: s.Process.Env, Files: []uintptr{null.Fd(), null.Fd(), null.Fd()},
		Sys: &syscall.SysProcAttr{
			Chroot: s.Root.Path, Setsid: true, PidFD: &pidfd,
			Pdeathsig:  unix.SIGKILL, // between its birth and its cgroup nobody else would find it
			Credential: &syscall.Credential{Uid: s.Process.User.UID, Gid: s.Process.User.GID, Groups: s.Process.User.AdditionalGids},
		},
	}
	err = onOwnThread(func() error {
		leave, err := enter(s, attr.Sys)
		if err != nil {
			return err
		}
		defer leave()
		if pid, err = syscall.ForkExec(s.Process.Args[0], s.Process.Args, attr); err != nil {
			return fmt.Errorf("run %s in %s: %w", s.Process.Args[0], s.Root.Path, err)
		}
		return nil
	})
	if err != nil {
		return 0, -1, fmt.Errorf("pause: %w", err)
	}
	if err := join(Cgroups(s), pid); err != nil {
		err = errors.Join(err, unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0), unix.Close(pidfd))
		return 0, -1, fmt.Errorf("pause: %w", err)
	}
	if score := s.Process.OOMScoreAdj; score != nil {
		// The caller has clamped it; should the kernel refuse it all the same, the Pod is the better for running.
		_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte(strconv.Itoa(*score)), 0)
	}
	return pid, pidfd, nil
}

// join moves a process into the cgroups that it could not be born in: those of v1.
func join(cgroups []string, pid int) error {
	for _, dir := range cgroups {
		if !isV1(dir) {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
			return fmt.Errorf("join the cgroup: %w", err)
		}
	}
	return nil
}

func isV1(cgroup string) bool { return unix.Access(filepath.Join(cgroup, "tasks"), unix.F_OK) == nil }

// namespaceFlags are those that a thread can join.
var namespaceFlags = map[specs.LinuxNamespaceType]int{
	specs.NetworkNamespace: unix.CLONE_NEWNET, specs.IPCNamespace: unix.CLONE_NEWIPC, specs.UTSNamespace: unix.CLONE_NEWUTS,
}

// enter moves the calling thread to where the process is to be born. leave closes what the birth needs.
func enter(s *specs.Spec, attr *syscall.SysProcAttr) (leave func(), err error) {
	leave = func() {}
	for _, dir := range Cgroups(s) {
		if isV1(dir) {
			continue
		}
		fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return leave, fmt.Errorf("join the cgroup %s: %w", dir, err)
		}
		leave = func() { _ = unix.Close(fd) }
		attr.UseCgroupFD, attr.CgroupFD = true, fd
	}
	for _, ns := range s.Linux.Namespaces {
		flag, joins := namespaceFlags[ns.Type]
		switch {
		case ns.Type == specs.PIDNamespace && ns.Path == "":
			attr.Cloneflags |= unix.CLONE_NEWPID
		case joins && ns.Path != "":
			if err := setns(ns.Path, flag); err != nil {
				return leave, fmt.Errorf("join the %s namespace: %w", ns.Type, err)
			}
		}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return leave, fmt.Errorf("no new privileges: %w", err)
	}
	for c := uintptr(0); unix.Prctl(unix.PR_CAPBSET_READ, c, 0, 0, 0) == nil; c++ {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil {
			return leave, fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	return leave, nil
}

func setns(path string, flag int) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Setns(fd, flag)
}

// onOwnThread runs fn on a thread that nothing else runs on afterwards, since it has left the process' namespaces and rights. The
// thread stays: processes that it has started at other times may have asked to die with it.
func onOwnThread(fn func() error) error {
	done := make(chan error)
	go func() {
		goruntime.LockOSThread()
		if unix.Gettid() == unix.Getpid() { // /proc shows the first thread's namespaces as those of the process
			done <- onOwnThread(fn)
			goruntime.UnlockOSThread()
			return
		}
		done <- fn()
		select {}
	}()
	return <-done
}
