"""Tertium: on-demand LLM deployments on Kubernetes."""

__version__ = "0.1.0"
