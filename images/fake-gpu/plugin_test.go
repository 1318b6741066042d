package main

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

func TestReadConfig(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node")
	if config, err := readConfig(path); err != nil || config.Count != 0 {
		t.Errorf("a node without a file: got %v, %v; want no GPU and no error", config, err)
	}
	os.WriteFile(path, []byte(`{"count": 2, "product": "P", "memoryMiB": 7, "mounts": [{"host": "/a", "container": "/b"}]}`), 0o600)
	config, err := readConfig(path)
	if err != nil || config.Count != 2 || config.Mounts[0] != (Mount{Host: "/a", Container: "/b"}) {
		t.Errorf("got %v, %v", config, err)
	}
	os.WriteFile(path, []byte("{"), 0o600)
	if _, err := readConfig(path); err == nil {
		t.Error("a broken file is no error")
	}
}

func TestLabels(t *testing.T) {
	want := map[string]any{"nvidia.com/gpu.count": "2", "nvidia.com/gpu.product": "P", "nvidia.com/gpu.memory": "7"}
	if got := (Config{Count: 2, Product: "P", MemoryMiB: 7}).labels(); !maps.Equal(got, want) {
		t.Errorf("got %v; want %v", got, want)
	}
	for name, value := range (Config{}).labels() {
		if value != nil {
			t.Errorf("%s: got %v on a node without GPUs; want it removed", name, value)
		}
	}
}

func TestUnhealthyDevicesAreTold(t *testing.T) {
	devices := newDevices(Config{Count: 3})
	_, changed := devices.list()
	devices.setUnhealthy("0, 2")
	select {
	case <-changed:
	default:
		t.Error("nobody was told of the change")
	}
	response, _ := devices.list()
	var health []string
	for _, device := range response.Devices {
		health = append(health, device.Health)
	}
	if want := []string{api.Unhealthy, api.Healthy, api.Unhealthy}; !slices.Equal(health, want) {
		t.Errorf("got %v; want %v", health, want)
	}
}

func TestAllocate(t *testing.T) {
	devices := newDevices(Config{Count: 4, Mounts: []Mount{{Host: "/srv/engine", Container: "/opt/vllm"}}})
	request := &api.AllocateRequest{ContainerRequests: []*api.ContainerAllocateRequest{{DevicesIds: []string{"fake-gpu-3", "fake-gpu-1"}}}}
	response, err := devices.Allocate(context.Background(), request)
	if err != nil {
		t.Fatal(err)
	}
	got := response.ContainerResponses[0]
	if got.Envs["NVIDIA_VISIBLE_DEVICES"] != "fake-gpu-1,fake-gpu-3" {
		t.Errorf("got %v", got.Envs)
	}
	if len(got.Devices) != 2 || got.Devices[0].ContainerPath != "/dev/nvidia1" {
		t.Errorf("got %v", got.Devices)
	}
	if len(got.Mounts) != 1 || !got.Mounts[0].ReadOnly || got.Mounts[0].ContainerPath != "/opt/vllm" {
		t.Errorf("got %v", got.Mounts)
	}
}
