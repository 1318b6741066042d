package main

import (
	"context"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/polling"
	"github.com/fluxcd/pkg/ssa"
	ssautil "github.com/fluxcd/pkg/ssa/utils"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Flux writes as Flux's kustomize-controller does.
type Flux struct{ manager *ssa.ResourceManager }

var fluxOwner = ssa.Owner{Field: "kustomize-controller", Group: "kustomize.toolkit.fluxcd.io"}

func newFlux() (Engine, error) {
	kube, err := clusterClient()
	if err != nil {
		return nil, err
	}
	poller := polling.NewStatusPoller(kube, kube.RESTMapper(), polling.Options{})
	return Flux{manager: ssa.NewResourceManager(kube, poller, fluxOwner)}, nil
}

// Apply writes what differs, definitions first.
func (f Flux) Apply(ctx context.Context, objects []*unstructured.Unstructured) ([]Outcome, error) {
	options := ssa.DefaultApplyOptions()
	options.WaitInterval = 100 * time.Millisecond
	changes, err := f.manager.ApplyAllStaged(ctx, objects, options)
	return fluxOutcomes(changes), err
}

// Diff asks the API server, by a dry run, what an apply would change.
func (f Flux) Diff(ctx context.Context, objects []*unstructured.Unstructured) ([]Outcome, error) {
	outcomes := make([]Outcome, 0, len(objects))
	for _, object := range objects {
		entry, live, merged, err := f.manager.Diff(ctx, object, ssa.DefaultDiffOptions())
		if err != nil {
			return outcomes, err
		}
		outcome := fluxOutcome(*entry)
		if live != nil {
			if outcome.Change, err = mergePatch(live, merged); err != nil {
				return outcomes, err
			}
		}
		outcomes = append(outcomes, outcome)
	}
	return outcomes, nil
}

// Delete removes the objects and waits until they are gone.
func (f Flux) Delete(ctx context.Context, objects []*unstructured.Unstructured) ([]Outcome, error) {
	changes, err := f.manager.DeleteAll(ctx, objects, ssa.DefaultDeleteOptions())
	if err != nil {
		return fluxOutcomes(changes), err
	}
	wait := ssa.WaitOptions{Interval: 100 * time.Millisecond, Timeout: time.Minute}
	return fluxOutcomes(changes), f.manager.WaitForTermination(objects, wait)
}

func fluxOutcomes(changes *ssa.ChangeSet) []Outcome {
	if changes == nil {
		return nil
	}
	outcomes := make([]Outcome, 0, len(changes.Entries))
	for _, entry := range changes.Entries {
		outcomes = append(outcomes, fluxOutcome(entry))
	}
	return outcomes
}

func fluxOutcome(entry ssa.ChangeSetEntry) Outcome {
	words := map[ssa.Action]string{
		ssa.CreatedAction: changed, ssa.ConfiguredAction: changed, ssa.DeletedAction: deleted,
		ssa.UnchangedAction: unchanged,
	}
	return Outcome{Object: ssautil.FmtObjMetadata(entry.ObjMetadata), Action: words[entry.Action]}
}
