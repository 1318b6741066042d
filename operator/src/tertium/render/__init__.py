"""Desired objects from decisions, pure: manifests for the cluster, resources for Envoy."""
