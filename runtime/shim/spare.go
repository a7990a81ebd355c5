// SPDX-License-Identifier: Apache-2.0

package shim

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	task "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/v2/pkg/shutdown"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/ttrpc"
)

// awaitTaker ends a spare shim when the agent ends before it gave the shim to a
// sandbox: it writes a byte to the pipe when it does.
func awaitTaker(pipe *os.File, sd shutdown.Service) {
	defer pipe.Close()
	if n, _ := pipe.Read(make([]byte, 1)); n == 0 {
		sd.Shutdown()
	}
}

// settling makes a spare shim one like any other when it is asked for its first
// task: it moves into the task's bundle, and its log goes there.
func (s server) settling(ctx context.Context, bundles string, next ttrpc.UnaryServerInterceptor) ttrpc.UnaryServerInterceptor {
	var once sync.Once
	return func(rctx context.Context, unmarshal ttrpc.Unmarshaler, info *ttrpc.UnaryServerInfo, method ttrpc.Method) (any, error) {
		if info.FullMethod != service+"Create" {
			return next(rctx, unmarshal, info, method)
		}
		var req task.CreateTaskRequest
		if err := unmarshal(&req); err != nil {
			return nil, err
		}
		var err error
		once.Do(func() {
			if err = os.Chdir(filepath.Join(bundles, req.ID)); err == nil {
				err = s.openLog(ctx)
			}
		})
		if err != nil {
			return nil, errgrpc.ToGRPC(fmt.Errorf("move into the bundle: %w", err))
		}
		return next(rctx, unmarshal, info, method)
	}
}
