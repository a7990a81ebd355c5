// SPDX-License-Identifier: Apache-2.0

package shim

import (
	"context"
	"sync/atomic"

	"github.com/containerd/ttrpc"
	"google.golang.org/protobuf/types/known/emptypb"
)

// creating keeps the shim up while a task is being created. The task service
// ends the shim when it is asked to while it has no task, and it counts a task
// only when runc is done with it: a container of the Pod that is refused
// meanwhile, after which containerd asks for the end, would take the shim away
// from under the sandbox. Whoever's creation fails last asks again.
func creating(next ttrpc.UnaryServerInterceptor) ttrpc.UnaryServerInterceptor {
	var under atomic.Int32
	return func(ctx context.Context, u ttrpc.Unmarshaler, info *ttrpc.UnaryServerInfo, method ttrpc.Method) (any, error) {
		switch info.FullMethod {
		case service + "Create":
			under.Add(1)
			defer under.Add(-1)
		case service + "Shutdown":
			if under.Load() > 0 {
				return &emptypb.Empty{}, nil
			}
		}
		return next(ctx, u, info, method)
	}
}
