// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"context"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// check asks the gRPC health service, version 1, and succeeds when it is SERVING.
func check(ctx context.Context, address, service string, timeout time.Duration) Outcome {
	conn, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithUserAgent("kube-probe/"+version),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return dialer().DialContext(ctx, "tcp", address)
		}))
	if err != nil {
		return Outcome{Failure, fmt.Sprintf("error: failed to connect service at %q: %+v", address, err)}
	}
	defer conn.Close()
	conn.Connect()
	for state := conn.GetState(); state != connectivity.Ready; state = conn.GetState() {
		if !conn.WaitForStateChange(ctx, state) {
			return Outcome{Failure, fmt.Sprintf("timeout: failed to connect service %q within %v: %+v", address, timeout, ctx.Err())}
		}
		if conn.GetState() == connectivity.Idle {
			conn.Connect()
		}
	}
	answer, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: service})
	switch s, _ := status.FromError(err); {
	case err == nil && answer.GetStatus() == grpc_health_v1.HealthCheckResponse_SERVING:
		return Outcome{Success, "service healthy"}
	case err == nil:
		return Outcome{Failure, fmt.Sprintf("service unhealthy (responded with %q)", answer.GetStatus().String())}
	case s.Code() == codes.Unimplemented:
		return Outcome{Failure, "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): " + s.Message()}
	case s.Code() == codes.DeadlineExceeded:
		return Outcome{Failure, fmt.Sprintf("timeout: health rpc did not complete within %v", timeout)}
	}
	return Outcome{Failure, fmt.Sprintf("error: health rpc probe failed: %+v", err)}
}
