// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"fmt"
	"strings"
)

// maxEnvFile bounds the file of a fileKeyRef, which a container has written.
const maxEnvFile = 1 << 20

// parseEnvFile finds the first value of a variable in a file of lines NAME='value',
// as KEP-3721 has them: values in single quotes, which may span lines and in which
// nothing is special; empty lines and comments; no space before the sign. A space
// behind it makes the value empty. What comes before the variable has to be well
// formed.
func parseEnvFile(text, key string) (string, error) {
	lines := strings.Split(text, "\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	for i := 0; i < len(lines); i++ {
		line := strings.TrimLeft(strings.TrimSuffix(lines[i], "\r"), " \t")
		if line == "" || line[0] == '#' {
			continue
		}
		name, rest, ok := strings.Cut(line, "=")
		switch trimmed := strings.TrimRight(name, " \t"); {
		case !ok:
			return "", fmt.Errorf("line %d: no '='", i+1)
		case trimmed == "":
			return "", fmt.Errorf("line %d: no name before '='", i+1)
		case trimmed != name:
			return "", fmt.Errorf("line %d: space before '='", i+1)
		}
		if rest == "" || rest[0] != ' ' && rest[0] != '\t' {
			value, last, err := quoted(lines, i, rest)
			if err != nil || name == key {
				return value, err
			}
			i = last
		} else if name == key {
			return "", nil
		}
	}
	return "", nil
}

// quoted reads a value that begins with rest on a line, and says where it ends.
func quoted(lines []string, first int, rest string) (value string, last int, err error) {
	rest, ok := strings.CutPrefix(rest, "'")
	if !ok {
		return "", 0, fmt.Errorf("line %d: the value is not in single quotes", first+1)
	}
	var b strings.Builder
	for i := first; ; {
		before, behind, closed := strings.Cut(rest, "'")
		b.WriteString(before)
		if closed {
			if behind = strings.TrimLeft(behind, " \t"); behind != "" && behind[0] != '#' {
				return "", 0, fmt.Errorf("line %d: something follows the closing quote", i+1)
			}
			return b.String(), i, nil
		}
		b.WriteByte('\n')
		if i++; i == len(lines) {
			return "", 0, fmt.Errorf("line %d: the quote is not closed", first+1)
		}
		rest = strings.TrimSuffix(lines[i], "\r")
	}
}
