package main

import (
	"context"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// release takes field managers out of the objects' metadata, so that whoever owned them before is alone again.
func release(ctx context.Context, managers []string, objects []*unstructured.Unstructured) error {
	kube, err := clusterClient()
	if err != nil {
		return err
	}
	for _, object := range objects {
		live := object.DeepCopy()
		if err := kube.Get(ctx, client.ObjectKeyFromObject(object), live); err != nil {
			return err
		}
		before := live.DeepCopy()
		live.SetManagedFields(slices.DeleteFunc(live.GetManagedFields(), func(entry metav1.ManagedFieldsEntry) bool {
			return slices.Contains(managers, entry.Manager)
		}))
		annotations := live.GetAnnotations()
		delete(annotations, "kubectl.kubernetes.io/last-applied-configuration")
		live.SetAnnotations(annotations)
		if err := kube.Patch(ctx, live, client.MergeFrom(before)); err != nil {
			return err
		}
	}
	return nil
}
