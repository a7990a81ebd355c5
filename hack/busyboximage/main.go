// SPDX-License-Identifier: Apache-2.0

// Command busyboximage makes an image archive from the machine's static busybox, for the demonstration and for tests where no
// registry is in reach.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/minikubelet/minikubelet/runtime/image/imagetest"
)

func main() {
	var o imagetest.Options
	out := flag.String("o", "busybox.tar", "archive to write")
	flag.StringVar(&o.Name, "name", imagetest.DefaultName, "name of the image")
	flag.StringVar((*string)(&o.Format), "format", string(imagetest.OCI), "oci or docker")
	flag.StringVar((*string)(&o.Compress), "compress", string(imagetest.None), "none, gzip or zstd")
	flag.StringVar(&o.Busybox, "busybox", imagetest.DefaultBusybox, "static busybox to put in")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "busyboximage: unexpected argument %q\n", flag.Arg(0))
		os.Exit(2)
	}
	if err := imagetest.BuildFile(*out, o); err != nil {
		fmt.Fprintf(os.Stderr, "busyboximage: %v\n", err)
		os.Exit(1)
	}
}
