// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// command succeeds when it exits with 0. One that cannot be started is no answer,
// as in the kubelet.
func command(ctx context.Context, args []string, run ExecFunc, timeout time.Duration) (Outcome, error) {
	ran, err := run(ctx, args, outputMax)
	output := ran.output()
	output = output[:min(len(output), outputMax)]
	switch {
	case errors.Is(err, context.DeadlineExceeded) || err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded):
		return Outcome{Failure, fmt.Sprintf("command timed out: %q timed out after %s", strings.Join(args, " "), timeout)}, nil
	case err != nil:
		return Outcome{}, err
	case ran.ExitCode != 0:
		return Outcome{Failure, string(output)}, nil
	}
	return Outcome{Success, string(output)}, nil
}
