// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// priorityFlag is seconds by priority: 0=20,2000000000=10.
type priorityFlag map[int32]int64

// Set is part of pflag.Value.
func (p *priorityFlag) Set(text string) error {
	if *p == nil {
		*p = priorityFlag{}
	}
	for entry := range strings.SplitSeq(text, ",") {
		priority, seconds, ok := strings.Cut(entry, "=")
		a, err1 := strconv.ParseInt(priority, 10, 32)
		b, err2 := strconv.ParseInt(seconds, 10, 64)
		if !ok || err1 != nil || err2 != nil {
			return fmt.Errorf("%q: must be priority=seconds", entry)
		}
		(*p)[int32(a)] = b
	}
	return nil
}

// String is part of pflag.Value.
func (p *priorityFlag) String() string {
	var entries []string
	for _, priority := range slices.Sorted(maps.Keys(*p)) {
		entries = append(entries, fmt.Sprintf("%d=%d", priority, (*p)[priority]))
	}
	return strings.Join(entries, ",")
}

// Type is part of pflag.Value.
func (p *priorityFlag) Type() string { return "list" }

// signalFlag is an amount by signal: memory.available<100Mi, or with = in place of <.
// An empty text is an empty map.
type signalFlag map[string]string

// Set is part of pflag.Value.
func (f *signalFlag) Set(text string) error {
	if *f == nil {
		*f = signalFlag{}
	}
	for entry := range strings.SplitSeq(text, ",") {
		if entry == "" {
			continue
		}
		at := strings.IndexAny(entry, "<=")
		if at < 0 {
			return fmt.Errorf("%q: must be like memory.available<100Mi", entry)
		}
		(*f)[strings.TrimSpace(entry[:at])] = strings.TrimSpace(entry[at+1:])
	}
	return nil
}

// String is part of pflag.Value.
func (f *signalFlag) String() string {
	var entries []string
	for _, signal := range slices.Sorted(maps.Keys(*f)) {
		entries = append(entries, signal+"<"+(*f)[signal])
	}
	return strings.Join(entries, ",")
}

// Type is part of pflag.Value.
func (f *signalFlag) Type() string { return "list" }
