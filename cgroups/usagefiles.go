// SPDX-License-Identifier: Apache-2.0

package cgroups

import (
	"bytes"
	"cmp"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Pressure is how much tasks waited for a resource (PSI).
type Pressure struct{ Some, Full Stall }

// Stall is the share of the time, in percent, in which some or all tasks waited:
// averages over 10, 60 and 300 seconds; and in sum, in nanoseconds.
type Stall struct {
	Avg10, Avg60, Avg300 float64
	TotalNanos           uint64
}

// readSmall reads a file of the kernel; nothing when it cannot be read.
func readSmall(name string) []byte {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil
	}
	return data
}

// readNumber reads a file with one number; 0 when it is not there or says "max".
func readNumber(name string) uint64 {
	n, err := strconv.ParseUint(string(bytes.TrimSpace(readSmall(name))), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// readTable reads a file with lines of a word and a number.
func readTable(name string) map[string]uint64 { return parseTable(readSmall(name)) }

func parseTable(data []byte) map[string]uint64 {
	table := make(map[string]uint64)
	for line := range bytes.Lines(data) {
		key, value, ok := strings.Cut(string(bytes.TrimSpace(line)), " ")
		if n, err := strconv.ParseUint(value, 10, 64); ok && err == nil {
			table[key] = n
		}
	}
	return table
}

func countLines(name string) uint64 { return uint64(bytes.Count(readSmall(name), []byte{'\n'})) }

func readPressure(name string) *Pressure { return parsePressure(readSmall(name)) }

// parsePressure reads lines such as "some avg10=0.00 avg60=0.00 avg300=0.00
// total=0", whose total is in microseconds; nil when there are none.
func parsePressure(data []byte) *Pressure {
	var p Pressure
	found := false
	for line := range bytes.Lines(data) {
		words := strings.Fields(string(line))
		if len(words) == 0 {
			continue
		}
		stall := &p.Some
		switch words[0] {
		case "some":
		case "full":
			stall = &p.Full
		default:
			continue
		}
		found = true
		for _, word := range words[1:] {
			key, value, _ := strings.Cut(word, "=")
			number, err := strconv.ParseFloat(value, 64)
			switch {
			case err != nil || number < 0:
			case key == "avg10":
				stall.Avg10 = number
			case key == "avg60":
				stall.Avg60 = number
			case key == "avg300":
				stall.Avg300 = number
			case key == "total":
				total, _ := strconv.ParseUint(value, 10, 64) // not a number of microseconds: 0
				stall.TotalNanos = total * 1000
			}
		}
	}
	if !found {
		return nil
	}
	return &p
}

// parseIOStat reads v2's io.stat: "8:0 rbytes=1 wbytes=2 rios=3 wios=4 …".
func parseIOStat(data []byte) []DeviceIO {
	devices := make(map[string]*DeviceIO)
	for line := range bytes.Lines(data) {
		words := strings.Fields(string(line))
		if len(words) < 2 {
			continue
		}
		d := device(devices, words[0])
		for _, word := range words[1:] {
			key, value, _ := strings.Cut(word, "=")
			number, err := strconv.ParseUint(value, 10, 64)
			switch {
			case err != nil:
			case key == "rbytes":
				d.ReadBytes = number
			case key == "wbytes":
				d.WriteBytes = number
			case key == "rios":
				d.ReadCount = number
			case key == "wios":
				d.WriteCount = number
			}
		}
	}
	return sortedIO(devices)
}

// parseBlkio reads v1's pair of files with lines such as "8:0 Read 4096".
func parseBlkio(sizes, counts []byte) []DeviceIO {
	devices := make(map[string]*DeviceIO)
	each := func(data []byte, read, write func(*DeviceIO) *uint64) {
		for line := range bytes.Lines(data) {
			words := strings.Fields(string(line))
			if len(words) != 3 {
				continue // "Total 4096"
			}
			number, err := strconv.ParseUint(words[2], 10, 64)
			switch {
			case err != nil:
			case words[1] == "Read":
				*read(device(devices, words[0])) = number
			case words[1] == "Write":
				*write(device(devices, words[0])) = number
			}
		}
	}
	each(sizes, func(d *DeviceIO) *uint64 { return &d.ReadBytes }, func(d *DeviceIO) *uint64 { return &d.WriteBytes })
	each(counts, func(d *DeviceIO) *uint64 { return &d.ReadCount }, func(d *DeviceIO) *uint64 { return &d.WriteCount })
	return sortedIO(devices)
}

func device(devices map[string]*DeviceIO, name string) *DeviceIO {
	if devices[name] == nil {
		devices[name] = &DeviceIO{Device: name}
	}
	return devices[name]
}

func sortedIO(devices map[string]*DeviceIO) []DeviceIO {
	var out []DeviceIO
	for _, d := range devices {
		out = append(out, *d)
	}
	slices.SortFunc(out, func(a, b DeviceIO) int { return cmp.Compare(a.Device, b.Device) })
	return out
}
