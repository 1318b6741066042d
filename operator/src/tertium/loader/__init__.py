"""Weights: what a source holds, read inside the namespace that owns it."""
