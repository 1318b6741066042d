"""Benchmarks: each prints its table as Markdown and JSON. None is a test."""
