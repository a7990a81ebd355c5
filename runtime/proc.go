// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"bytes"
	"os"
	"strconv"
	"time"
)

// clockTicks is USER_HZ, the unit of times in /proc, which is 100 on every architecture that Linux has a container runtime for.
const clockTicks = 100

// processStart gives the time at which a process began, from /proc (proc_pid_stat(5), field 22, counted from boot), to 10 ms; zero
// when the process is gone.
func processStart(pid int) time.Time {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return time.Time{}
	}
	ticks, ok := startTicks(stat)
	if !ok {
		return time.Time{}
	}
	uptime, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return time.Time{}
	}
	up, err := strconv.ParseFloat(string(bytes.Fields(uptime)[0]), 64)
	if err != nil {
		return time.Time{}
	}
	age := time.Duration(up*float64(time.Second)) - time.Duration(ticks)*time.Second/clockTicks
	return time.Now().Add(-age)
}

// startTicks finds field 22 of a stat line. The second field, the command's name in parentheses, may contain anything.
func startTicks(stat []byte) (ticks int64, ok bool) {
	end := bytes.LastIndexByte(stat, ')')
	if end < 0 {
		return 0, false
	}
	fields := bytes.Fields(stat[end+1:])
	const starttime = 22 - 3 // the fields after the name are counted from the third
	if len(fields) <= starttime {
		return 0, false
	}
	ticks, err := strconv.ParseInt(string(fields[starttime]), 10, 64)
	return ticks, err == nil
}
