// SPDX-License-Identifier: Apache-2.0

package pause

import (
	"bufio"
	"bytes"
	"debug/elf"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestPauseProgramIsAnExecutable(t *testing.T) {
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		program, err := program(arch)
		if err != nil {
			t.Fatal(err)
		}
		f, err := elf.NewFile(bytes.NewReader(program))
		if err != nil {
			t.Fatalf("%s: %v", arch, err)
		}
		if f.Machine != machine || f.Type != elf.ET_EXEC || f.Entry != codeAddress+codeOffset {
			t.Errorf("%s: header %+v", arch, f.FileHeader)
		}
		if len(f.Progs) != 2 || f.Progs[0].Flags != elf.PF_R|elf.PF_X || f.Progs[1].Flags&elf.PF_X != 0 {
			t.Errorf("%s: segments must be one of code and a stack that is not executable", arch)
		}
		if f.Progs[0].Filesz != uint64(len(program)) || len(program) > 512 {
			t.Errorf("%s: %d bytes mapped of %d", arch, f.Progs[0].Filesz, len(program))
		}
		if data := program[len(program)-len(pauseData()):]; !bytes.Equal(data, pauseData()) {
			t.Errorf("%s: the data is not at the end", arch)
		}
	}
	if _, err := program("riscv64"); err == nil || !strings.Contains(err.Error(), "riscv64") {
		t.Errorf("an unknown architecture gives %v", err)
	}
}

// The AArch64 code cannot run on most build machines, so its words are compared with what GNU as makes of the source in the
// comments.
func TestPauseARM64Words(t *testing.T) {
	want := "c81080d2 200280d2 01020010 020080d2 030180d2 010000d4 " + // rt_sigaction(17, action, 0, 8)
		"e81080d2 000080d2 41020010 010000d4 " + // rt_sigprocmask(0, set)
		"281180d2 e0010010 010080d2 010000d4 80ffffb7 " + // rt_sigtimedwait(set, 0), tbnz x0, #63, -16
		"c80b80d2 000080d2 010000d4" // exit_group(0)
	var got []string
	code := pauseARM64()
	for at := 0; at < len(code)-len(pauseData()); at += 4 {
		got = append(got, fmt.Sprintf("%x", code[at:at+4]))
	}
	if g := strings.Join(got, " "); g != want {
		t.Errorf("got  %s\nwant %s", g, want)
	}
}

func writePause(t *testing.T) string {
	t.Helper()
	program, err := program(runtime.GOARCH)
	if err != nil {
		t.Skip(err)
	}
	path := filepath.Join(t.TempDir(), "pause")
	if err := os.WriteFile(path, program, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// waitBlocked waits until the program sleeps in rt_sigtimedwait. The kernel shows its signals as not blocked there.
func waitBlocked(t *testing.T, pid int) {
	t.Helper()
	const sigChld = 1 << (17 - 1)
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		ignored, _ := strconv.ParseUint(field(pid, "SigIgn"), 16, 64)
		if ignored&sigChld != 0 && strings.HasPrefix(field(pid, "State"), "S") {
			return
		}
	}
	t.Fatalf("process %d does not wait: SIGIGN %q, state %q", pid, field(pid, "SigIgn"), field(pid, "State"))
}

func field(pid int, name string) string {
	data, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

func TestPauseEndsOnSignals(t *testing.T) {
	path := writePause(t)
	for _, c := range []struct {
		signals []syscall.Signal
		want    string
	}{
		{[]syscall.Signal{syscall.SIGTERM}, "exit status 0"},
		{[]syscall.Signal{syscall.SIGINT}, "exit status 0"},
		{[]syscall.Signal{syscall.SIGSTOP, syscall.SIGCONT, syscall.SIGTERM}, "exit status 0"},
		{[]syscall.Signal{syscall.SIGCHLD, syscall.SIGTERM}, "exit status 0"},
		{[]syscall.Signal{syscall.SIGKILL}, "signal: killed"},
	} {
		cmd := exec.Command(path)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		waitBlocked(t, cmd.Process.Pid)
		for i, signal := range c.signals {
			if i > 0 {
				time.Sleep(50 * time.Millisecond)
				if state := field(cmd.Process.Pid, "State"); strings.HasPrefix(state, "Z") {
					t.Fatalf("%v: it ended after %v", c.signals, c.signals[:i])
				}
			}
			if err := cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			cmd.Process.Kill()
			t.Fatalf("%v: it goes on", c.signals)
		}
		if got := cmd.ProcessState.String(); got != c.want {
			t.Errorf("%v: %s, want %s", c.signals, got, c.want)
		}
	}
}

// As process 1 of a PID namespace it must end on SIGTERM from inside and outside, and leave no zombies of processes that it
// inherited.
func TestPauseAsInit(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	path := writePause(t)
	cmd := exec.Command(path)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	t.Cleanup(func() { cmd.Process.Kill() })
	waitBlocked(t, pid)

	// A shell inside the namespace starts a child and ends before it: pause inherits the child, which then ends.
	inside := exec.Command("/usr/bin/nsenter", "-t", strconv.Itoa(pid), "-p", "--", "/bin/sh", "-c",
		"(sleep 0.2; exit 3) >/dev/null 2>&1 & (sleep 0.2; exit 4) >/dev/null 2>&1 & exit 0")
	if out, err := inside.CombinedOutput(); err != nil {
		t.Fatalf("nsenter: %v: %s", err, out)
	}
	if n := len(children(t, pid)); n < 2 {
		t.Fatalf("the orphans did not become children of pause: %d", n)
	}
	deadline := time.Now().Add(10 * time.Second)
	for len(children(t, pid)) > 0 {
		if time.Now().After(deadline) {
			t.Fatalf("not reaped: %v", children(t, pid))
		}
		time.Sleep(20 * time.Millisecond)
	}
	inside = exec.Command("/usr/bin/nsenter", "-t", strconv.Itoa(pid), "-p", "--", "/bin/sh", "-c", "kill -TERM 1")
	// The shell may go down with the namespace before it can say that it did it.
	out, err := inside.CombinedOutput()
	if status, ok := inside.ProcessState.Sys().(syscall.WaitStatus); err != nil && (!ok || status.Signal() != syscall.SIGKILL) {
		t.Fatalf("kill from inside: %v: %s", err, out)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("SIGTERM from inside: %v", err)
	}
}

func children(t *testing.T, pid int) []string {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(data))
}

func TestPauseIsSmall(t *testing.T) {
	path := writePause(t)
	cmd := exec.Command(path)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	waitBlocked(t, cmd.Process.Pid)
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps_rollup", cmd.Process.Pid))
	if err != nil {
		t.Skip(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(io.LimitReader(f, 1<<16)); lines.Scan(); {
		var kb int
		if n, _ := fmt.Sscanf(lines.Text(), "Pss: %d kB", &kb); n == 1 {
			if kb > 64 {
				t.Errorf("pause takes %d kB", kb)
			}
			return
		}
	}
	t.Error("no Pss in smaps_rollup")
}
