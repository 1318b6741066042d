package main

import (
	"context"
	"encoding/json"
	"time"

	"github.com/argoproj/gitops-engine/pkg/diff"
	"github.com/argoproj/gitops-engine/pkg/utils/kube"
	"github.com/argoproj/gitops-engine/pkg/utils/tracing"
	ssautil "github.com/fluxcd/pkg/ssa/utils"
	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
)

const argoCDManager = "argocd-controller"

// ArgoCD writes and compares as Argo CD's application controller does: with the three-way patch of its default,
// or by server-side apply, which an application's sync options choose.
type ArgoCD struct {
	config     *rest.Config
	kubectl    *kube.KubectlCmd
	serverSide bool
}

func newArgoCD(serverSide bool) (Engine, error) {
	config, err := clusterConfig()
	if err != nil {
		return nil, err
	}
	kubectl := &kube.KubectlCmd{Log: logr.Discard(), Tracer: tracing.NopTracer{}}
	return ArgoCD{config: config, kubectl: kubectl, serverSide: serverSide}, nil
}

// Apply writes every object.
func (a ArgoCD) Apply(ctx context.Context, objects []*unstructured.Unstructured) ([]Outcome, error) {
	schema, _, err := a.kubectl.LoadOpenAPISchema(a.config)
	if err != nil {
		return nil, err
	}
	operations, clean, err := a.kubectl.ManageResources(a.config, schema)
	if err != nil {
		return nil, err
	}
	defer clean()
	return each(objects, func(object *unstructured.Unstructured) (Outcome, error) {
		_, err := operations.ApplyResource(
			ctx, object, cmdutil.DryRunNone, false, true, a.serverSide, argoCDManager)
		return Outcome{Action: applied}, err
	})
}

// Diff compares what is wanted with what is there.
func (a ArgoCD) Diff(ctx context.Context, objects []*unstructured.Unstructured) ([]Outcome, error) {
	schema, parser, err := a.kubectl.LoadOpenAPISchema(a.config)
	if err != nil {
		return nil, err
	}
	dryRun, clean, err := kube.ManageServerSideDiffDryRuns(
		a.config, schema, tracing.NopTracer{}, logr.Discard(), nil)
	if err != nil {
		return nil, err
	}
	defer clean()
	options := []diff.Option{
		diff.WithLogr(logr.Discard()),
		diff.WithManager(argoCDManager),
		diff.WithGVKParser(parser),
		diff.WithServerSideDiff(a.serverSide),
		diff.WithServerSideDryRunner(diff.NewK8sServerSideDryRunner(dryRun)),
	}
	return each(objects, func(object *unstructured.Unstructured) (Outcome, error) {
		live, err := a.get(ctx, object)
		if err != nil {
			return Outcome{}, err
		}
		result, err := diff.Diff(object, live, options...)
		if err != nil {
			return Outcome{}, err
		}
		if !result.Modified {
			return Outcome{Action: unchanged}, nil
		}
		change, err := mergePatch(json.RawMessage(result.NormalizedLive), json.RawMessage(result.PredictedLive))
		return Outcome{Action: changed, Change: change}, err
	})
}

// Delete removes the objects, dependents first, and waits until they are gone.
func (a ArgoCD) Delete(ctx context.Context, objects []*unstructured.Unstructured) ([]Outcome, error) {
	return each(objects, func(object *unstructured.Unstructured) (Outcome, error) {
		err := a.kubectl.DeleteResource(ctx, a.config, object.GroupVersionKind(), object.GetName(),
			object.GetNamespace(), metav1.DeleteOptions{})
		if err != nil {
			return Outcome{}, err
		}
		gone := func(ctx context.Context) (bool, error) {
			live, err := a.get(ctx, object)
			return live == nil, err
		}
		return Outcome{Action: deleted}, wait.PollUntilContextTimeout(
			ctx, 100*time.Millisecond, time.Minute, true, gone)
	})
}

// get returns the live object, or nil when there is none.
func (a ArgoCD) get(ctx context.Context, object *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	live, err := a.kubectl.GetResource(
		ctx, a.config, object.GroupVersionKind(), object.GetName(), object.GetNamespace())
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return live, err
}

func each(
	objects []*unstructured.Unstructured, do func(*unstructured.Unstructured) (Outcome, error),
) ([]Outcome, error) {
	outcomes := make([]Outcome, 0, len(objects))
	for _, object := range objects {
		outcome, err := do(object)
		if err != nil {
			return outcomes, err
		}
		outcome.Object = ssautil.FmtUnstructured(object)
		outcomes = append(outcomes, outcome)
	}
	return outcomes, nil
}
