// Gitops lets the code of Flux and Argo CD judge and change objects of a cluster, without either installed there.
//
//	gitops health ARGOCD_CM          what each makes of the state of an object
//	gitops ENGINE apply|diff|delete  what each would write, writes and deletes; ENGINE: flux, argocd, argocd-ssa
//	gitops release MANAGER...        let the objects go: nothing of these field managers is left in their metadata
//
// Objects come as YAML or JSON documents on standard input, answers go as one line of JSON each to standard output.
// The cluster is KUBECONFIG's.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	ssautil "github.com/fluxcd/pkg/ssa/utils"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const usage = "usage: gitops health ARGOCD_CM | gitops flux|argocd|argocd-ssa apply|diff|delete | " +
	"gitops release MANAGER..."

// Outcome is what an engine did, or would do, with one object.
type Outcome struct {
	Object string `json:"object"`
	Action string `json:"action"`
	// Change is what the engine would alter, as a merge patch of the live object; empty: nothing.
	Change json.RawMessage `json:"change,omitempty"`
}

const (
	applied   = "applied"
	changed   = "changed"
	deleted   = "deleted"
	unchanged = "unchanged"
)

// Engine is what a GitOps tool does with the objects of a repository.
type Engine interface {
	Apply(ctx context.Context, objects []*unstructured.Unstructured) ([]Outcome, error)
	Diff(ctx context.Context, objects []*unstructured.Unstructured) ([]Outcome, error)
	Delete(ctx context.Context, objects []*unstructured.Unstructured) ([]Outcome, error)
}

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "gitops: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, words []string) error {
	act, err := action(ctx, words)
	if err != nil {
		return err
	}
	objects, err := ssautil.ReadObjects(os.Stdin)
	if err != nil {
		return fmt.Errorf("standard input: %w", err)
	}
	return act(objects)
}

func action(ctx context.Context, words []string) (func([]*unstructured.Unstructured) error, error) {
	switch {
	case len(words) == 2 && words[0] == "health":
		return func(objects []*unstructured.Unstructured) error { return healthOf(ctx, words[1], objects) }, nil
	case len(words) >= 2 && words[0] == "release":
		return func(objects []*unstructured.Unstructured) error { return release(ctx, words[1:], objects) }, nil
	case len(words) == 2:
		engine, err := engineNamed(words[0])
		if err != nil {
			return nil, err
		}
		verbs := map[string]func(context.Context, []*unstructured.Unstructured) ([]Outcome, error){
			"apply": engine.Apply, "diff": engine.Diff, "delete": engine.Delete,
		}
		if verb, known := verbs[words[1]]; known {
			return func(objects []*unstructured.Unstructured) error {
				outcomes, err := verb(ctx, objects)
				return errors.Join(err, print(outcomes))
			}, nil
		}
	}
	return nil, errors.New(usage)
}

func engineNamed(name string) (Engine, error) {
	switch name {
	case "flux":
		return newFlux()
	case "argocd":
		return newArgoCD(false)
	case "argocd-ssa":
		return newArgoCD(true)
	}
	return nil, errors.New(usage)
}

func print[T any](answers []T) error {
	out := json.NewEncoder(os.Stdout)
	for _, answer := range answers {
		if err := out.Encode(answer); err != nil {
			return err
		}
	}
	return nil
}
