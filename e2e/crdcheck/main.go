// crdcheck judges a CustomResourceDefinition (JSON on standard input) by the code of the API server that the module
// pins: the oldest supported one. That is where a schema or a rule that needs a newer Kubernetes fails; newer servers
// accept what older ones did. It prints every error and exits with 1 when there are any.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	v1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
)

func main() {
	definition, err := read()
	if err != nil {
		fmt.Fprintln(os.Stderr, "crdcheck:", err)
		os.Exit(2)
	}
	wrong := validation.ValidateCustomResourceDefinition(context.Background(), definition)
	for _, one := range wrong {
		fmt.Println(one)
	}
	if len(wrong) > 0 {
		os.Exit(1)
	}
}

// read does what the API server does before it validates: decode, default, convert to the internal version.
func read() (*apiextensions.CustomResourceDefinition, error) {
	var stated v1.CustomResourceDefinition
	decoder := json.NewDecoder(os.Stdin)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&stated); err != nil {
		return nil, err
	}
	v1.SetDefaults_CustomResourceDefinition(&stated)
	v1.SetDefaults_CustomResourceDefinitionSpec(&stated.Spec)
	var internal apiextensions.CustomResourceDefinition
	err := v1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(&stated, &internal, nil)
	for _, version := range internal.Spec.Versions {
		internal.Status.StoredVersions = append(internal.Status.StoredVersions, version.Name)
	}
	return &internal, err
}
