package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

const (
	resource   = "nvidia.com/gpu"
	socketName = "tertium-fake-gpu.sock"
)

// Devices is the device plugin: the kubelet asks it what there is and what a container that gets some shall see.
type Devices struct {
	api.UnimplementedDevicePluginServer

	config Config

	mu        sync.Mutex
	unhealthy map[string]bool
	changed   chan struct{} // closed and replaced when unhealthy changes
}

func newDevices(config Config) *Devices {
	return &Devices{config: config, unhealthy: map[string]bool{}, changed: make(chan struct{})}
}

func deviceID(number int) string { return fmt.Sprintf("fake-gpu-%d", number) }

// setUnhealthy takes device numbers, "0,2"; the others are healthy.
func (d *Devices) setUnhealthy(numbers string) {
	broken := map[string]bool{}
	for _, number := range strings.FieldsFunc(numbers, func(r rune) bool { return r == ',' || r == ' ' }) {
		broken["fake-gpu-"+number] = true
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.unhealthy = broken
	close(d.changed)
	d.changed = make(chan struct{})
}

func (d *Devices) list() (*api.ListAndWatchResponse, <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	response := &api.ListAndWatchResponse{}
	for number := range d.config.Count {
		device := &api.Device{ID: deviceID(number), Health: api.Healthy}
		if d.unhealthy[device.ID] {
			device.Health = api.Unhealthy
		}
		response.Devices = append(response.Devices, device)
	}
	return response, d.changed
}

// GetDevicePluginOptions says that neither optional call is wanted.
func (d *Devices) GetDevicePluginOptions(context.Context, *api.Empty) (*api.DevicePluginOptions, error) {
	return &api.DevicePluginOptions{}, nil
}

// ListAndWatch sends the devices, and again on every change, until the kubelet hangs up.
func (d *Devices) ListAndWatch(_ *api.Empty, stream api.DevicePlugin_ListAndWatchServer) error {
	for {
		response, changed := d.list()
		if err := stream.Send(response); err != nil {
			return err
		}
		select {
		case <-stream.Context().Done():
			return nil
		case <-changed:
		}
	}
}

// Allocate says what a container sees of the devices it gets: the variable of NVIDIA's runtime, device files (the null
// device), and the configured folders.
func (d *Devices) Allocate(_ context.Context, request *api.AllocateRequest) (*api.AllocateResponse, error) {
	response := &api.AllocateResponse{}
	for _, container := range request.ContainerRequests {
		ids := slices.Sorted(slices.Values(container.DevicesIds))
		log.Printf("allocate %v", ids)
		answer := &api.ContainerAllocateResponse{Envs: map[string]string{"NVIDIA_VISIBLE_DEVICES": strings.Join(ids, ",")}}
		for _, id := range ids {
			file := "/dev/nvidia" + strings.TrimPrefix(id, "fake-gpu-")
			answer.Devices = append(answer.Devices, &api.DeviceSpec{HostPath: "/dev/null", ContainerPath: file, Permissions: "rw"})
		}
		for _, mount := range d.config.Mounts {
			answer.Mounts = append(answer.Mounts, &api.Mount{HostPath: mount.Host, ContainerPath: mount.Container, ReadOnly: true})
		}
		response.ContainerResponses = append(response.ContainerResponses, answer)
	}
	return response, nil
}

// serve registers with the kubelet and answers it, until the context ends or the kubelet has restarted.
func (d *Devices) serve(ctx context.Context, directory string) error {
	path := filepath.Join(directory, socketName)
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("plugin socket: %w", err)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("plugin socket: %w", err)
	}
	server := grpc.NewServer()
	api.RegisterDevicePluginServer(server, d)
	go server.Serve(listener)
	defer server.Stop()
	if err := register(ctx, directory); err != nil {
		return err
	}
	log.Printf("registered %d x %s (%s, %d MiB)", d.config.Count, resource, d.config.Product, d.config.MemoryMiB)
	// A starting kubelet empties the directory; that is how it asks for a new registration.
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(500 * time.Millisecond):
		}
		if _, err := os.Stat(path); err != nil {
			return fmt.Errorf("the kubelet has restarted: %w", err)
		}
	}
}

func register(ctx context.Context, directory string) error {
	connection, err := grpc.NewClient("unix://"+filepath.Join(directory, "kubelet.sock"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fmt.Errorf("kubelet: %w", err)
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request := &api.RegisterRequest{Version: api.Version, Endpoint: socketName, ResourceName: resource}
	if _, err := api.NewRegistrationClient(connection).Register(ctx, request); err != nil {
		return fmt.Errorf("kubelet: register %s: %w", resource, err)
	}
	return nil
}
