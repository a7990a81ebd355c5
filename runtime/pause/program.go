// SPDX-License-Identifier: Apache-2.0

package pause

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// The pause program holds a sandbox's namespaces. It needs neither a C library nor a Go runtime, only this, and so it has a
// few hundred bytes, one page of code and one of stack:
//
//	rt_sigaction(SIGCHLD, {SIG_IGN, SA_NOCLDWAIT})  // the kernel reaps: it is process 1 of a shared PID namespace
//	rt_sigprocmask(SIG_BLOCK, {SIGINT, SIGTERM})
//	while (rt_sigtimedwait({SIGINT, SIGTERM}, NULL, NULL) < 0)  // EINTR, as after SIGCONT
//	        ;
//	exit_group(0)
//
// Waiting for blocked signals needs no handler. It works for process 1 of a PID namespace too: the kernel drops signals that
// such a process neither handles nor blocks, but never blocked ones (sig_ignored in kernel/signal.c). SIGKILL from outside
// always ends it.

// pauseData is read by the program: a struct sigaction as the kernel has it on 64-bit machines, and a signal set.
func pauseData() []byte {
	const (
		sigIgn       = 1
		saNoCldWait  = 2
		sigInt       = 2
		sigTerm      = 15
		noRestorer   = 0
		noOtherMask  = 0
		sigIntBit    = 1 << (sigInt - 1)
		sigTermBit   = 1 << (sigTerm - 1)
		stopSignals  = sigIntBit | sigTermBit
		actionFields = 4
	)
	words := [actionFields + 1]uint64{sigIgn, saNoCldWait, noRestorer, noOtherMask, stopSignals}
	var data []byte
	for _, w := range words {
		data = binary.LittleEndian.AppendUint64(data, w)
	}
	return data
}

// signalSetOffset is where the signal set is in pauseData.
const signalSetOffset = 32

// codeAddress is where the file is mapped, and codeOffset where its code begins: behind the ELF header and two program headers.
const (
	codeAddress = 0x400000
	codeOffset  = 64 + 2*56
)

// program returns a static ELF executable for linux on an architecture, in Go's spelling.
func program(arch string) ([]byte, error) {
	switch arch {
	case "amd64":
		return elf64(62, pauseAMD64()), nil // EM_X86_64
	case "arm64":
		return elf64(183, pauseARM64()), nil // EM_AARCH64
	}
	return nil, fmt.Errorf("the built-in pause program has no variant for %s: Pods cannot run on this architecture yet", arch)
}

// pauseAMD64 is the code for x86-64. Arguments go to rdi, rsi, rdx and r10, the number to rax (Linux' syscall(2)).
func pauseAMD64() []byte {
	const size = 72 // of the code below with its padding, where the data begins
	data := uint32(codeAddress + codeOffset + size)
	var c []byte
	op := func(b ...byte) { c = append(c, b...) }
	imm := func(v uint32) { c = binary.LittleEndian.AppendUint32(c, v) }

	op(0xb8)
	imm(13) // mov $13,%eax       rt_sigaction
	op(0xbf)
	imm(17) // mov $17,%edi       SIGCHLD
	op(0xbe)
	imm(data)      // mov $action,%esi
	op(0x31, 0xd2) // xor %edx,%edx
	op(0x41, 0xba)
	imm(8)         // mov $8,%r10d       sizeof(sigset_t)
	op(0x0f, 0x05) // syscall
	op(0xb8)
	imm(14)        // mov $14,%eax       rt_sigprocmask
	op(0x31, 0xff) // xor %edi,%edi      SIG_BLOCK
	op(0xbe)
	imm(data + signalSetOffset) // mov $set,%esi
	op(0x0f, 0x05)              // syscall            rdx and r10 are kept
	wait := len(c)
	op(0xb8)
	imm(128) // mov $128,%eax      rt_sigtimedwait
	op(0xbf)
	imm(data + signalSetOffset)     // mov $set,%edi
	op(0x31, 0xf6)                  // xor %esi,%esi      no siginfo
	op(0x0f, 0x05)                  // syscall            no timeout (rdx is 0)
	op(0x85, 0xc0)                  // test %eax,%eax
	op(0x78, byte(wait-(len(c)+2))) // js wait
	op(0xb8)
	imm(231)       // mov $231,%eax      exit_group
	op(0x31, 0xff) // xor %edi,%edi
	op(0x0f, 0x05) // syscall
	for len(c) < size {
		op(0xf4) // hlt, never reached
	}
	return append(c, pauseData()...)
}

// pauseARM64 is the code for AArch64. Arguments go to x0 to x3, the number to x8.
func pauseARM64() []byte {
	const size = 4 * 18 // of the code below, where the data begins
	var c []byte
	op := func(v uint32) { c = binary.LittleEndian.AppendUint32(c, v) }
	movz := func(reg, value uint32) { op(0xd2800000 | value<<5 | reg) }
	adr := func(reg uint32, target int) {
		off := uint32(target - len(c))
		op(0x10000000 | (off&3)<<29 | (off>>2&0x7ffff)<<5 | reg)
	}
	svc := func() { op(0xd4000001) }

	movz(8, 134) // rt_sigaction
	movz(0, 17)  // SIGCHLD
	adr(1, size)
	movz(2, 0)
	movz(3, 8) // sizeof(sigset_t)
	svc()
	movz(8, 135) // rt_sigprocmask
	movz(0, 0)   // SIG_BLOCK
	adr(1, size+signalSetOffset)
	svc()
	wait := len(c)
	movz(8, 137) // rt_sigtimedwait
	adr(0, size+signalSetOffset)
	movz(1, 0)
	svc()
	op(0xb7f80000 | uint32((wait-len(c))/4)&0x3fff<<5) // tbnz x0,#63,wait
	movz(8, 94)                                        // exit_group
	movz(0, 0)
	svc()
	return append(c, pauseData()...)
}

// elf64 wraps position-fixed code, entered at its first byte, into an executable with one read-only, executable segment and a
// stack that is not executable (System V ABI, "Object Files").
func elf64(machine uint16, code []byte) []byte {
	const page = 0x10000 // also where pages have 64 KiB
	size := uint64(codeOffset + len(code))
	var b bytes.Buffer
	put := func(values ...any) {
		for _, v := range values {
			binary.Write(&b, binary.LittleEndian, v) // a Buffer takes all
		}
	}
	b.Write([]byte{0x7f, 'E', 'L', 'F', 2 /* 64 bit */, 1 /* little endian */, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	put(uint16(2) /* ET_EXEC */, machine, uint32(1))
	put(uint64(codeAddress+codeOffset), uint64(64) /* program headers */, uint64(0) /* no sections */)
	put(uint32(0), uint16(64), uint16(56), uint16(2), uint16(64), uint16(0), uint16(0))
	put(uint32(1) /* PT_LOAD */, uint32(5) /* read, execute */, uint64(0), uint64(codeAddress), uint64(codeAddress), size, size, uint64(page))
	put(uint32(0x6474e551) /* PT_GNU_STACK */, uint32(6) /* read, write */, uint64(0), uint64(0), uint64(0), uint64(0), uint64(0), uint64(16))
	b.Write(code)
	return b.Bytes()
}
