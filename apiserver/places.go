// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// places bounds what is served at a time, in all and for each identity, so that
// nobody takes the places of the others: what one identity may have is a quarter,
// and a quarter of all is for administrators alone.
type places struct {
	what string
	max  int

	mu     sync.Mutex
	taken  int // by all
	common int // by all but administrators
	by     map[string]int
}

func newPlaces(what string, most int) *places {
	return &places{what: what, max: most, by: make(map[string]int)}
}

// take gives a place; its return gives it back. With no place left it fails with
// status 429.
func (p *places) take(who *Identity) (giveBack func(), err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	admin := who.admin()
	switch {
	case p.taken >= p.max, !admin && p.common >= p.max-p.max/4:
		return nil, apierrors.NewTooManyRequests("too many "+p.what+" at the same time, please try again later", 1)
	case !admin && p.by[who.Name] >= p.max/4:
		return nil, apierrors.NewTooManyRequests("too many "+p.what+" of "+who.Name+" at the same time, please try again later", 1)
	}
	p.taken++
	if admin {
		return func() { p.free(1, 0, "") }, nil
	}
	p.common++
	p.by[who.Name]++
	return func() { p.free(1, 1, who.Name) }, nil
}

func (p *places) free(taken, common int, name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken, p.common = p.taken-taken, p.common-common
	if common == 0 {
		return
	}
	if p.by[name]--; p.by[name] == 0 {
		delete(p.by, name)
	}
}
