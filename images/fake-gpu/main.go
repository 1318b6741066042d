// Fake-gpu is a kubelet device plugin that offers GPUs which are not there, for clusters without any.
//
// The accounting is the kubelet's own and so is real: no two running containers hold the same device. The node gets
// the labels that NVIDIA's GPU feature discovery would give it. A restarted kubelet is noticed and registered with
// anew. The node's annotation fake-gpu.tertium.dev/unhealthy lists device numbers that are to be broken: "0,2".
package main

import (
	"context"
	"flag"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	path := flag.String("config", "", "file that says what this node has (JSON: count, product, memoryMiB, mounts)")
	plugins := flag.String("plugins", "/var/lib/kubelet/device-plugins", "the kubelet's directory of device plugins")
	flag.Parse()
	config, err := readConfig(*path)
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()

	node, err := newNode(os.Getenv("NODE_NAME"))
	if err != nil {
		log.Fatal(err)
	}
	devices := newDevices(config)
	go node.keep(ctx, config.labels(), devices.setUnhealthy)
	if config.Count == 0 {
		<-ctx.Done()
		return
	}
	for ctx.Err() == nil {
		if err := devices.serve(ctx, *plugins); err != nil {
			log.Print(err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
}
