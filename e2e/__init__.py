"""End-to-end tests and the tools they need: a real cluster, real models, benchmarks."""
