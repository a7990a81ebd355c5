// SPDX-License-Identifier: Apache-2.0

package plan

import "time"

// Back-offs, all in the kubelet's figures except the first pair.
const (
	// A failed action is repeated after 1 s, doubling to 30 s. (The kubelet's pod
	// worker waits about 10 s each time.)
	retryFirst = time.Second
	retryMax   = 30 * time.Second
	// A failed pull is repeated after 10 s, doubling to 5 min.
	pullFirst = 10 * time.Second
	pullMax   = 5 * time.Minute
	// A container that ended is restarted at once the first time, then 10 s after
	// its end, doubling to 5 min; a run of more than twice that starts anew.
	crashFirst = 10 * time.Second
	crashMax   = 5 * time.Minute
	crashReset = 2 * crashMax
	// settle is how long the error itself (Error, ErrImagePull) is shown before the
	// status says that it is being waited on (CrashLoopBackOff, ImagePullBackOff).
	// The kubelet shows the one until its next sync, some seconds later.
	settle = 2 * time.Second
)

// retryDelay after a number of failures in a row.
func retryDelay(count int) time.Duration { return doubled(retryFirst, retryMax, count) }

// pullDelay after a number of failed pulls in a row.
func pullDelay(count int) time.Duration { return doubled(pullFirst, pullMax, count) }

// doubled is first for a count of 0 or 1, then twice as much each time up to most.
func doubled(first, most time.Duration, count int) time.Duration {
	delay := first
	for i := 1; i < count && delay < most; i++ {
		delay *= 2
	}
	return min(delay, most)
}

// crashLoop is the restart back-off after the end of a container, found by looking
// at the attempt that ended: when the next attempt may start and which delay has
// to be recorded with it. The rules are those of client-go's flowcontrol.Backoff
// as the kubelet uses it; its entry is the attempt's BackOff, last updated when
// the attempt was started. afresh: the next attempt is not a repetition of this one.
func crashLoop(ended *Container, afresh bool) (until time.Time, record time.Duration) {
	switch {
	case ended == nil:
		return time.Time{}, 0
	case ended.BackOff == 0, afresh, ended.FinishedAt.Sub(begun(ended)) > crashReset:
		return time.Time{}, crashFirst
	default:
		return ended.FinishedAt.Add(ended.BackOff), min(2*ended.BackOff, crashMax)
	}
}

// begun is when a container was started, or made if it never was.
func begun(c *Container) time.Time {
	if c.StartedAt.IsZero() {
		return c.CreatedAt
	}
	return c.StartedAt
}
