// SPDX-License-Identifier: Apache-2.0

package spec

import (
	"fmt"
	"slices"
	"strings"
)

// Expand replaces the references $(NAME) in s as Kubernetes does it in
// command, args and env values: $$ yields a single $, so that $$(NAME) stays
// as the text $(NAME); a reference that lookup does not know, and any other
// use of $, is left as it is. Values are not expanded again.
func Expand(s string, lookup func(name string) (value string, ok bool)) string {
	var b strings.Builder
	for {
		i := strings.IndexByte(s, '$')
		if i < 0 || i == len(s)-1 {
			b.WriteString(s)
			return b.String()
		}
		b.WriteString(s[:i])
		rest := s[i+1:]
		switch {
		case rest[0] == '$':
			b.WriteByte('$')
			s = rest[1:]
		case rest[0] == '(':
			end := strings.IndexByte(rest, ')')
			if end < 0 {
				// No closing parenthesis anywhere: go on behind "$(".
				b.WriteString("$(")
				s = rest[1:]
				continue
			}
			name := rest[1:end]
			if v, ok := lookup(name); ok {
				b.WriteString(v)
			} else {
				b.WriteString("$(" + name + ")")
			}
			s = rest[end+1:]
		default:
			b.WriteByte('$')
			s = rest
		}
	}
}

// ExpandAll is Expand for fields in which every reference must be known
// (subPathExpr); the error names the missing ones.
func ExpandAll(s string, lookup func(name string) (value string, ok bool)) (string, error) {
	var missing []string
	out := Expand(s, func(name string) (string, bool) {
		v, ok := lookup(name)
		if !ok && !slices.Contains(missing, name) {
			missing = append(missing, name)
		}
		return v, ok
	})
	if len(missing) > 0 {
		slices.Sort(missing)
		return "", fmt.Errorf("missing value for %s", strings.Join(missing, ", "))
	}
	return out, nil
}
