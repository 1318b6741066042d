package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
)

// Config is what one node has.
type Config struct {
	Count     int     `json:"count"`
	Product   string  `json:"product"`
	MemoryMiB int     `json:"memoryMiB"`
	Mounts    []Mount `json:"mounts"`
}

// Mount is a folder of the node that every container with a GPU sees read-only, as it would see a driver.
type Mount struct {
	Host      string `json:"host"`
	Container string `json:"container"`
}

func readConfig(path string) (Config, error) {
	var config Config
	data, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return config, nil // A node that nobody gave any GPU.
	}
	if err == nil {
		err = json.Unmarshal(data, &config)
	}
	if err != nil {
		return config, fmt.Errorf("config %s: %w", path, err)
	}
	return config, nil
}

// labels returns what NVIDIA's GPU feature discovery says about a node; nil removes a label.
func (c Config) labels() map[string]any {
	if c.Count == 0 {
		return map[string]any{"nvidia.com/gpu.count": nil, "nvidia.com/gpu.product": nil, "nvidia.com/gpu.memory": nil}
	}
	return map[string]any{
		"nvidia.com/gpu.count":   strconv.Itoa(c.Count),
		"nvidia.com/gpu.product": c.Product,
		"nvidia.com/gpu.memory":  strconv.Itoa(c.MemoryMiB),
	}
}
