// SPDX-License-Identifier: Apache-2.0

package shim

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	task "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/ttrpc"
)

// StartFile is a file in the bundle of each task whose start was asked for. A
// task that has ended without it never ran: it was killed while it waited. An
// agent that was killed at that time could not tell otherwise.
const StartFile = "start"

// starting marks tasks with StartFile. bundles is the directory of all bundles.
func starting(bundles string, next ttrpc.UnaryServerInterceptor) ttrpc.UnaryServerInterceptor {
	return func(ctx context.Context, unmarshal ttrpc.Unmarshaler, info *ttrpc.UnaryServerInfo, method ttrpc.Method) (any, error) {
		if info.FullMethod == service+"Start" {
			var req task.StartRequest
			if err := unmarshal(&req); err != nil {
				return nil, err
			}
			if req.ExecID == "" {
				if err := os.WriteFile(filepath.Join(bundles, req.ID, StartFile), nil, 0o600); err != nil {
					return nil, errgrpc.ToGRPC(fmt.Errorf("note the start: %w", err))
				}
			}
		}
		return next(ctx, unmarshal, info, method)
	}
}
