package main

import (
	"encoding/json"

	jsonpatch "github.com/evanphx/json-patch"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func clusterConfig() (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if err != nil {
		return nil, err
	}
	// Five requests a second, the default, is for programs that share a cluster with others.
	config.QPS, config.Burst = 100, 200
	return config, nil
}

func clusterClient() (client.Client, error) {
	config, err := clusterConfig()
	if err != nil {
		return nil, err
	}
	return client.New(config, client.Options{Scheme: runtime.NewScheme()})
}

func mergePatch(live, wanted any) (json.RawMessage, error) {
	before, err := json.Marshal(live)
	if err != nil {
		return nil, err
	}
	after, err := json.Marshal(wanted)
	if err != nil {
		return nil, err
	}
	return jsonpatch.CreateMergePatch(before, after)
}
