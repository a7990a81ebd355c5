// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

const (
	// MaxManifestBytes is the largest manifest that is read, all documents together.
	MaxManifestBytes = 10 << 20
	// MaxDocumentBytes is the largest single document; no object of the Kubernetes API is larger.
	MaxDocumentBytes = 2 << 20
	// MaxObjects is the largest number of documents, and of items in one list.
	MaxObjects = 1000
	// maxFaults bounds what is reported of one object.
	maxFaults = 100
)

// document is one document of a manifest.
type document struct {
	text []byte
	line int // of its first byte, from 1
	json bool
}

// readAll reads at most MaxManifestBytes.
func readAll(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxManifestBytes+1))
	if err != nil {
		return nil, err
	}
	if len(data) > MaxManifestBytes {
		return nil, fmt.Errorf("larger than %d MiB: split it into several files", MaxManifestBytes>>20)
	}
	return data, nil
}

// split cuts a manifest into its non-empty documents.
func split(data []byte) []document {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if docs, ok := splitJSON(data); ok {
		return docs
	}
	return splitYAML(data)
}

// splitJSON takes a stream of JSON objects or arrays; ok is false when data is
// anything else, YAML in flow style included.
func splitJSON(data []byte) (docs []document, ok bool) {
	start := bytes.TrimLeft(data, " \t\r\n")
	if len(start) == 0 || start[0] != '{' && start[0] != '[' {
		return nil, false
	}
	d := json.NewDecoder(bytes.NewReader(data))
	for {
		var raw json.RawMessage
		if err := d.Decode(&raw); errors.Is(err, io.EOF) {
			return docs, true
		} else if err != nil || raw[0] != '{' && raw[0] != '[' {
			return nil, false
		}
		before := data[:int(d.InputOffset())-len(raw)]
		docs = append(docs, document{text: raw, line: 1 + bytes.Count(before, []byte("\n")), json: true})
	}
}

// splitYAML cuts at the lines --- and ..., and leaves out documents of nothing but
// space and comments.
func splitYAML(data []byte) []document {
	var docs []document
	var current document
	flush := func(nextLine int) {
		if !blank(current.text) {
			docs = append(docs, current)
		}
		current = document{line: nextLine}
	}
	current.line = 1
	for line := 1; len(data) > 0; line++ {
		text, rest, found := bytes.Cut(data, []byte("\n"))
		whole := data[:len(data)-len(rest)]
		data = rest
		if !found {
			data = nil
		}
		switch marker := bytes.TrimRight(text, " \t\r"); {
		case bytes.Equal(marker, []byte("---")), bytes.Equal(marker, []byte("...")):
			flush(line + 1)
		case bytes.HasPrefix(text, []byte("--- ")), bytes.HasPrefix(text, []byte("---\t")):
			flush(line)
			current.text = append(current.text, whole[len("---"):]...)
		default:
			current.text = append(current.text, whole...)
		}
	}
	flush(0)
	return docs
}

// blank says whether a document has nothing but space and comments.
func blank(text []byte) bool {
	for len(text) > 0 {
		var line []byte
		line, text, _ = bytes.Cut(text, []byte("\n"))
		line = bytes.TrimSpace(line)
		if len(line) > 0 && line[0] != '#' {
			return false
		}
	}
	return true
}
