// SPDX-License-Identifier: Apache-2.0

package shim

import (
	"context"
	"flag"
	"io"
	"os"

	"github.com/containerd/containerd/v2/pkg/shim"
)

// Main is the whole program. It acts on the process' arguments and does not
// return before its work is done; then it may be an error that ended the shim.
//
// Containerd's own code does the short commands start, delete and -info. The
// server, which start begins with options alone, is ours: containerd's collects
// garbage every 30 seconds, which for a hundred idle shims is half of a
// per cent of a core, and loads plugins that we have none of.
func Main(ctx context.Context) error {
	if s, ok := parseServer(os.Args[1:]); ok {
		return s.serve(ctx)
	}
	shim.RunShim(ctx, NewManager())
	return nil
}

// server is what the start command says to the process that it leaves behind, or
// the agent to one that it starts ahead of a Pod (spare).
type server struct {
	namespace, id string
	debug         bool
	spare         bool
}

// parseServer tells whether these are the arguments of a server.
func parseServer(args []string) (s server, ok bool) {
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&s.namespace, "namespace", "", "")
	flags.StringVar(&s.id, "id", "", "")
	flags.BoolVar(&s.debug, "debug", false, "")
	flags.BoolVar(&s.spare, "spare", false, "")
	_ = flags.String("address", "", "") // of containerd: seeds the socket's name, which we are given
	err := flags.Parse(args)
	return s, err == nil && flags.NArg() == 0 && s.namespace != "" && s.id != ""
}
