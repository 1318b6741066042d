// Loadgen asks OpenAI-shaped endpoints for chat completions and says how that went. It is made to cost little:
// what is measured shares the machine with it.
//
// It reads one JSON object from its standard input (type order) and writes one (type report) to its standard
// output. Every connection stays open and has at most one request under way. An answer counts only if it is
// complete: 200 with choices, or a stream that ends with [DONE]. Nothing is tried again.
package main

import (
	"encoding/json"
	"fmt"
	"os"
)

func main() {
	var o order
	decoder := json.NewDecoder(os.Stdin)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&o); err != nil {
		fail(2, err)
	}
	p, err := o.plan()
	if err != nil {
		fail(2, err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(p.run()); err != nil {
		fail(1, err)
	}
}

func fail(status int, err error) {
	fmt.Fprintln(os.Stderr, "loadgen:", err)
	os.Exit(status)
}
