// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"context"
	"errors"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/minikubelet/minikubelet/volumes"
)

// Tokens makes tokens of ServiceAccounts. It is safe for concurrent use.
type Tokens interface {
	// Token makes a token of the Pod's ServiceAccount, bound to the Pod's name and
	// UID, that is good for an audience (empty: the API server's own) and for about
	// that many seconds. expires is when it ends, which may be sooner or later than
	// asked for.
	Token(ctx context.Context, pod *corev1.Pod, audience string, seconds int64) (token string, expires time.Time, err error)
}

// Of a token's life, this part is used before it is replaced, and no more than a
// day, as the kubelet's token manager has it.
const (
	tokenLifeUsed = 0.8
	tokenDay      = 24 * time.Hour
)

// again is how long what could not be written into a volume waits for the next try,
// as the kubelet looks at each Pod about once in a minute.
const again = time.Minute

// defaultTokenSeconds is the API's default of expirationSeconds.
const defaultTokenSeconds = 3600

// podTokens are the tokens in the volumes of one Pod. They are made when a volume is
// written, and again when they are due.
type podTokens struct {
	maker Tokens
	// due is told that a volume needs a new token.
	due func(volume string)
	// now is the time of day, by which whoever is shown a token judges it.
	now func() time.Time

	mu   sync.Mutex
	made map[tokenKey]*podToken
	over bool
}

type tokenKey struct {
	volume, audience string
	seconds          int64
}

type podToken struct {
	text    string
	until   time.Time // when it is replaced
	expires time.Time
	timer   *time.Timer
}

func newPodTokens(maker Tokens, due func(volume string)) *podTokens {
	return &podTokens{maker: maker, due: due, now: timeOfDay, made: make(map[tokenKey]*podToken)}
}

// timeOfDay goes with the clock when that is set, as time.Now does not when it is compared.
func timeOfDay() time.Time { return time.Now().Round(0) }

// get is a token that is not due, made now if need be. While none can be made, the old
// one serves to its end, as with the kubelet.
func (t *podTokens) get(ctx context.Context, pod *corev1.Pod, key tokenKey) (string, error) {
	began := t.now()
	t.mu.Lock()
	old := t.made[key]
	t.mu.Unlock()
	if old != nil && began.Before(old.until) {
		return old.text, nil
	}
	text, expires, err := t.maker.Token(ctx, pod, key.audience, key.seconds)
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		if old = t.made[key]; old == nil {
			return "", err
		}
		t.watch(key, old, again)
		if !began.Before(old.expires) {
			return "", err
		}
		return old.text, nil
	}
	made := &podToken{text: text, until: began.Add(tokenLife(expires.Sub(began))), expires: expires}
	if old = t.made[key]; old != nil {
		old.timer.Stop()
	}
	t.made[key] = made
	t.watch(key, made, made.until.Sub(t.now()))
	return text, nil
}

// watch tells once when a token is due, which it is expected to be after a while; t.mu is
// held.
func (t *podTokens) watch(key tokenKey, made *podToken, wait time.Duration) {
	if made.timer != nil {
		made.timer.Stop()
	}
	made.timer = time.AfterFunc(min(wait, clockLook), func() {
		t.mu.Lock()
		current, left := !t.over && t.made[key] == made, made.until.Sub(t.now())
		if current && left > 0 {
			t.watch(key, made, left)
		}
		t.mu.Unlock()
		if current && left <= 0 {
			t.due(key.volume)
		}
	})
	if t.over {
		made.timer.Stop()
	}
}

// tokenLife is how long a token is used.
func tokenLife(whole time.Duration) time.Duration {
	return max(min(time.Duration(tokenLifeUsed*float64(whole)), tokenDay), time.Second)
}

// stop ends the timers.
func (t *podTokens) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over = true
	for _, made := range t.made {
		made.timer.Stop()
	}
}

// token is the file of a serviceAccountToken source.
func (p *projector) token(ctx context.Context, volume string, s *corev1.ServiceAccountTokenProjection, mode uint32) (volumes.Files, error) {
	if p.tokens == nil {
		return nil, errors.New("this node makes no tokens of ServiceAccounts")
	}
	seconds := int64(defaultTokenSeconds)
	if s.ExpirationSeconds != nil {
		seconds = *s.ExpirationSeconds
	}
	text, err := p.tokens.get(ctx, p.pod, tokenKey{volume, s.Audience, seconds})
	if err != nil {
		return nil, err
	}
	return volumes.Files{s.Path: p.credential([]byte(text), mode)}, nil
}

// credential is a file of a token or of trust anchors. Where the kubelet knows the one
// user, or the group, of all containers, nobody else may read it.
func (p *projector) credential(data []byte, mode uint32) volumes.File {
	f := volumes.File{Data: data, Mode: mode, Owner: onlyUser(p.pod)}
	if sc := p.pod.Spec.SecurityContext; f.Owner != nil || sc != nil && sc.FSGroup != nil {
		f.Mode = 0o600
	}
	return f
}

// onlyUser is the runAsUser that all containers of a Pod have, nil when one has none
// or another.
func onlyUser(pod *corev1.Pod) *int64 {
	var user *int64
	for c := range Containers(pod) {
		own := (*int64)(nil)
		if pod.Spec.SecurityContext != nil {
			own = pod.Spec.SecurityContext.RunAsUser
		}
		if c.SecurityContext != nil && c.SecurityContext.RunAsUser != nil {
			own = c.SecurityContext.RunAsUser
		}
		if own == nil || user != nil && *user != *own {
			return nil
		}
		user = own
	}
	return user
}
