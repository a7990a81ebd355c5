// SPDX-License-Identifier: Apache-2.0

package api

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Source is the place of an object in a manifest.
type Source struct {
	// File is the name that Decode was given.
	File string
	// Document counts the non-empty documents of the file from 1.
	Document int
	// Item is the index in the document's list of items, -1 when it is no list.
	Item int
	// Line is the first line of the object in the file from 1, 0 when not known.
	Line int
}

// Problem is one error or warning about a manifest.
type Problem struct {
	Source
	// Field is the path from the object's root, for example
	// spec.containers[0].image; empty when the problem is not one field's.
	Field string
	// Message says what is wrong and what to do.
	Message string
}

// Error spells the problem in one line:
// pod.yaml: document 2, line 14: spec.containers[0].name: Required value.
func (p Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Document > 0 {
		fmt.Fprintf(&b, ": document %d", p.Document)
		if p.Item >= 0 {
			fmt.Fprintf(&b, ", item %d", p.Item)
		}
	}
	if p.Line > 0 {
		fmt.Fprintf(&b, ", line %d", p.Line)
	}
	if p.Field != "" {
		b.WriteString(": " + p.Field)
	}
	b.WriteString(": " + p.Message)
	return b.String()
}

// sortProblems puts them in the order of the manifest.
func sortProblems(problems []Problem) {
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Document, b.Document), cmp.Compare(a.Line, b.Line))
	})
}
