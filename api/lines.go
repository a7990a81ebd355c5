// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"strconv"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"
)

// lineIndex finds the line of a field in a document. The zero value knows none.
type lineIndex struct {
	root  *yamlv3.Node
	first int // line of the document's first line in the file
}

// indexLines parses the document for its lines only. It never expands aliases.
func indexLines(doc document) lineIndex {
	var node yamlv3.Node
	if err := yamlv3.Unmarshal(doc.text, &node); err != nil || len(node.Content) == 0 {
		return lineIndex{first: doc.line}
	}
	return lineIndex{root: node.Content[0], first: doc.line}
}

// find returns the line in the file of the field, or of its nearest ancestor that
// stands in the document.
func (x lineIndex) find(field string) int {
	if x.root == nil {
		return x.first
	}
	node, line := x.root, x.root.Line
	for _, step := range steps(field) {
		next, at := child(node, step)
		if next == nil {
			break
		}
		node, line = next, at
	}
	return x.first + line - 1
}

// child returns the value under a key or index, and the line of its key.
func child(node *yamlv3.Node, step string) (*yamlv3.Node, int) {
	for node.Kind == yamlv3.AliasNode && node.Alias != nil {
		node = node.Alias
	}
	switch node.Kind {
	case yamlv3.MappingNode:
		for i := 0; i+1 < len(node.Content); i += 2 {
			if node.Content[i].Value == step {
				return node.Content[i+1], node.Content[i].Line
			}
		}
	case yamlv3.SequenceNode:
		if i, err := strconv.Atoi(step); err == nil && i >= 0 && i < len(node.Content) {
			return node.Content[i], node.Content[i].Line
		}
	}
	return nil, 0
}

// steps cuts a field path such as metadata.labels[a.b/c] into its names, keys and
// indices.
func steps(field string) []string {
	var all []string
	for field != "" {
		switch {
		case field[0] == '.':
			field = field[1:]
		case field[0] == '[':
			key, rest, _ := strings.Cut(field[1:], "]")
			all, field = append(all, key), rest
		default:
			end := strings.IndexAny(field, ".[")
			if end < 0 {
				end = len(field)
			}
			all, field = append(all, field[:end]), field[end:]
		}
	}
	return all
}

// duplicate is a key that stands twice in one mapping.
type duplicate struct {
	field       string
	line, first int // lines in the file
}

// duplicates finds them all. Aliases are not followed: what they point at is looked
// at where it stands.
func (x lineIndex) duplicates() []duplicate {
	if x.root == nil {
		return nil
	}
	return x.duplicatesBelow(x.root, "", nil)
}

func (x lineIndex) duplicatesBelow(node *yamlv3.Node, path string, found []duplicate) []duplicate {
	switch node.Kind {
	case yamlv3.MappingNode:
		seen := map[string]int{}
		for i := 0; i+1 < len(node.Content); i += 2 {
			key := node.Content[i]
			field := strings.TrimPrefix(path+"."+key.Value, ".")
			if first, dup := seen[key.Value]; dup && key.Tag != "!!merge" && len(found) < maxFaults {
				found = append(found, duplicate{field, x.first + key.Line - 1, x.first + first - 1})
			}
			seen[key.Value] = key.Line
			found = x.duplicatesBelow(node.Content[i+1], field, found)
		}
	case yamlv3.SequenceNode:
		for i, item := range node.Content {
			found = x.duplicatesBelow(item, fmt.Sprintf("%s[%d]", path, i), found)
		}
	}
	return found
}
