// Kindcheck reads kind configurations with kind's own loader and rules, without a container engine:
// one line and exit status 1 for each file that kind would refuse.
package main

import (
	"fmt"
	"os"

	"sigs.k8s.io/kind/pkg/internal/apis/config/encoding"
)

func main() {
	status := 0
	for _, path := range os.Args[1:] {
		cluster, err := encoding.Load(path)
		if err == nil {
			err = cluster.Validate()
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", path, err)
			status = 1
			continue
		}
		for _, node := range cluster.Nodes {
			fmt.Printf("%s %s\n", node.Role, node.Image)
		}
	}
	os.Exit(status)
}
