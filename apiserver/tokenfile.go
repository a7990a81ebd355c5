// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"crypto/sha256"
	"encoding/csv"
	"fmt"
	"io"
	"os"
	"strings"
)

// TokenFile has users who prove by a token from a file who they are. It is safe
// for concurrent use.
type TokenFile struct {
	users map[[sha256.Size]byte]*Identity // by the token's hash: looking up tells nothing by its time
}

// LoadTokenFile reads a file of kube-apiserver's form: lines of token, user name,
// user UID and, in quotes when there are several, groups. Errors name the line and
// never what is in it.
func LoadTokenFile(path string) (*TokenFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("token file: %w", err)
	}
	defer f.Close()
	t, err := readTokens(f)
	if err != nil {
		return nil, fmt.Errorf("token file %s: %w", path, err)
	}
	return t, nil
}

func readTokens(from io.Reader) (*TokenFile, error) {
	t := &TokenFile{users: make(map[[sha256.Size]byte]*Identity)}
	lines := csv.NewReader(from)
	lines.FieldsPerRecord = -1
	for {
		record, err := lines.Read()
		if err == io.EOF {
			return t, nil
		}
		if err != nil {
			return nil, err // a csv.ParseError has the line and the column, not the text
		}
		line, _ := lines.FieldPos(0)
		if len(record) < 3 || strings.TrimSpace(record[0]) == "" || strings.TrimSpace(record[1]) == "" {
			return nil, fmt.Errorf("line %d: must have token, user name, user UID and perhaps groups, separated by commas", line)
		}
		who := &Identity{Name: strings.TrimSpace(record[1]), UID: strings.TrimSpace(record[2])}
		if len(record) > 3 {
			for group := range strings.SplitSeq(record[3], ",") {
				if group = strings.TrimSpace(group); group != "" {
					who.Groups = append(who.Groups, group)
				}
			}
		}
		sum := sha256.Sum256([]byte(strings.TrimSpace(record[0])))
		if t.users[sum] != nil {
			return nil, fmt.Errorf("line %d: the token is that of an earlier line, too", line)
		}
		t.users[sum] = who.authenticated()
	}
}

// find is whose token it is; nil when nobody's.
func (t *TokenFile) find(token string) *Identity {
	if t == nil {
		return nil
	}
	return t.users[sha256.Sum256([]byte(token))]
}
