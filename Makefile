# Everything a user or CI runs. `make help` lists it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Built parts live outside the tree, keyed by what they were made from; safe to delete at any time.
export TERTIUM_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/tertium
PYTHON ?= python3
VENV := $(TERTIUM_CACHE)/venv/$(shell { $(PYTHON) -c 'import sys; print(sys.version, sys.prefix)'; cat requirements/dev.txt; } | sha256sum | cut -c1-16)
BIN := $(VENV)/bin
export PATH := $(BIN):$(PATH)
export PYTHONPATH := $(CURDIR):$(CURDIR)/operator/src
CLUSTER ?= tertium
PACKAGES := operator/src/tertium e2e tests images

.PHONY: help
help: ## Show this list
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

# The environment's name says what it is made from; how old the file is must not matter, or every checkout would
# take away the environment that another one works with. Without the mark a killed run is done anew.
$(BIN)/.complete: | requirements/dev.txt
	@echo "==> Python environment ($(VENV))"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Tertium needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V). Give another: make PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null; } || { echo "Python's venv module is missing: apt-get install python3-venv"; exit 1; }
	@rm -rf $(VENV) && $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

.PHONY: setup
setup: $(BIN)/.complete

.PHONY: demo
demo: setup ## The main job on a real cluster: apply, held request, answer, idle, zero, second wake
	@python -m e2e.demo --cluster $(CLUSTER) $(if $(TEARDOWN),--teardown)

.PHONY: test
test: gate e2e ## Everything: the gate, then the end-to-end tests on a real cluster

.PHONY: gate
gate: setup ## The fast part: ruff, mypy, import-linter, unit tests, drift checks
	@ruff check $(PACKAGES)
	@ruff format --check $(PACKAGES)
	@mypy operator/src e2e tests
	@lint-imports --config pyproject.toml
	@python -m e2e.cluster filter >/dev/null
	@python -m pytest tests --numprocesses 4  # more than processors: many tests wait for a real Envoy

.PHONY: e2e
e2e: setup ## End-to-end tests on a real cluster with real vLLM
	@python -m e2e.environment e2e
	@python -m pytest e2e -m e2e --timeout 600

.PHONY: bench
bench: setup ## Benchmarks: tables as Markdown and JSON
	@python -m e2e.bench.wake
	@python -m e2e.bench.fleet
	@python -m e2e.bench.plan_speed
	@python -m e2e.bench.xds
	@python -m e2e.bench.gateway
	@python -m e2e.bench.storm

.PHONY: cluster-up
cluster-up: setup ## Start a real cluster on this machine (or kind, or KUBECONFIG's)
	@python -m e2e.cluster up --name $(CLUSTER) --install

.PHONY: cluster-down
cluster-down: setup ## Stop it; nothing stays running or mounted
	@python -m e2e.cluster down --name $(CLUSTER)

.PHONY: images
images: setup ## Bring images, the CPU engine and the models into the cluster; start it if need be
	@python -m e2e.environment $(CLUSTER)

.PHONY: generate
generate: setup ## Write anew what is generated: CRD, reference page, the chart's copy
	@python -m tertium crds --write

.PHONY: lock
lock: setup ## Write the hash-pinned requirements anew
	@python requirements/lock.py

.PHONY: format
format: setup ## Format the code
	@ruff check --fix $(PACKAGES)
	@ruff format $(PACKAGES)

.PHONY: clean
clean: ## Remove what the tools left in the tree (caches outside it stay: rm -rf the folder TERTIUM_CACHE names)
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
