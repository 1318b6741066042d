package main

import (
	"context"
	"fmt"
	"os"

	"github.com/argoproj/argo-cd/v3/util/lua"
	"github.com/argoproj/argo-cd/v3/util/settings"
	argohealth "github.com/argoproj/gitops-engine/pkg/health"
	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/sirupsen/logrus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes/fake"
	"sigs.k8s.io/yaml"
)

// Verdict is one tool's opinion of an object.
type Verdict struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

// Health is what both tools make of one object.
type Health struct {
	ArgoCD  Verdict `json:"argocd"`
	KStatus Verdict `json:"kstatus"`
}

// healthOf asks Argo CD, configured by a ConfigMap argocd-cm, and kstatus, which Flux and others rely on.
func healthOf(ctx context.Context, configMap string, objects []*unstructured.Unstructured) error {
	overrides, err := argoCDOverrides(ctx, configMap)
	if err != nil {
		return err
	}
	answers := make([]Health, 0, len(objects))
	for _, object := range objects {
		argo, err := argohealth.GetResourceHealth(object, overrides)
		if err != nil {
			return err
		}
		if argo == nil {
			return fmt.Errorf("%s: no health check for %s", configMap, object.GroupVersionKind())
		}
		kstatus, err := status.Compute(object)
		if err != nil {
			return err
		}
		answers = append(answers, Health{
			ArgoCD:  Verdict{Status: string(argo.Status), Message: argo.Message},
			KStatus: Verdict{Status: kstatus.Status.String(), Message: kstatus.Message},
		})
	}
	return print(answers)
}

// argoCDOverrides reads the ConfigMap as Argo CD does at its start, so that a misspelt key is not found here either.
func argoCDOverrides(ctx context.Context, path string) (lua.ResourceHealthOverrides, error) {
	logrus.SetLevel(logrus.WarnLevel)
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	configMap := &corev1.ConfigMap{}
	if err := yaml.UnmarshalStrict(text, configMap); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	configMap.Namespace = "argocd"
	manager := settings.NewSettingsManager(ctx, fake.NewClientset(configMap), configMap.Namespace)
	return manager.GetResourceOverrides()
}
