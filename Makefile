# Commands for contributors; CONTRIBUTING.md explains them. GNU Make 3.81 or later, a shell, and Python 3.11 or later with venv.
#
# `make run` and `make test` set themselves up: scripts/venv.sh makes .venv and installs the locked requirements.
#
# The locks are made by `make lock`; they hold hashes and no index addresses:
#   uv pip compile --universal --generate-hashes --python-version 3.11 --no-emit-index-url --no-header -q \
#      pyproject.toml -o requirements/run.txt
# run.txt is what the image contains; the others add what a laptop, a developer, the benchmark and the chart tests need.

SHELL  := /bin/sh
VENV   := .venv
BIN    := $(VENV)/bin
# The Python to make .venv with. Default: the newest that is found.
PYTHON ?=
# Additional arguments, such as make test ARGS='-k worker -x'
ARGS   ?=
# Processes that run tests in parallel, each with its own stores; 0 runs them in one, for a debugger. Most tests wait for
# something, so that two cores carry three. They start hundreds of processes, which keep what they compile.
WORKERS ?= 3

export PYTHON

COMPILE := $(BIN)/uv pip compile --universal --generate-hashes --python-version 3.11 --no-emit-index-url --no-header -q

.DEFAULT_GOAL := help
.PHONY: help run demo test chart-test release-check chaos acceptance-console acceptance-outbox acceptance-reach acceptance-recovery acceptance-search acceptance-shape fuzz bench lint image kind-up kind-demo kind-down format generate console-vendor lock clean

help: ## Show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-19s %s\n", $$1, $$2}' Makefile

run: ## Start everything on this machine; PORT=8080 DATA_DIR=.data PROCESSES=one by default
	@scripts/venv.sh local
	@exec $(BIN)/python -m dev.local

demo: ## Send a webhook through a failing receiver and watch it arrive
	@scripts/venv.sh local
	@exec $(BIN)/python -m dev.demo

test: ## Run all tests; ARGS go to pytest
	@scripts/venv.sh dev
	@unset PORT DATA_DIR PROCESSES PYTHONDONTWRITEBYTECODE; exec $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

chart-test: ## Check the Helm chart and the Dockerfile, without a cluster; ARGS go to pytest
	@scripts/chart-test.sh $(ARGS)

release-check: ## Build everything that is published, install it, and run its quickstart: ARGS="--output dist"
	@scripts/venv.sh dev
	@unset PORT DATA_DIR PROCESSES; exec $(BIN)/python -m scripts.release.check $(ARGS)

chaos: ## Prove that nothing accepted is lost: ARGS="--seed 7 --events 20000 --faults 25"
	@scripts/venv.sh dev
	@exec $(BIN)/python -m dev.chaos $(ARGS)

acceptance-console: ## Use the console in a real browser, a Chromium on PATH: DELIVERIES=10000000 TRIES=10000; ARGS go to pytest
	@scripts/venv.sh console
	@unset PORT DATA_DIR PROCESSES; $(BIN)/python -m pytest tests/console/acceptance.py tests/console/copying.py tests/console/personas.py tests/console/signing_in.py tests/console/tries.py tests/console/scale.py tests/console -n 0 -q -s $(ARGS)
	@exec $(BIN)/python -m dev.benchmarks --scenario watching --runs 5 --results .data/benchmarks

acceptance-outbox: ## Publish 20,000 rows by an outbox while its relays are killed 50 times
	@scripts/venv.sh dev
	@exec $(BIN)/python -m dev.chaos --scenario outbox --rows 20000 --kills 50 $(ARGS)

acceptance-reach: ## Install and use webhookctl, consumers that pull, and the SDKs, and measure them: ARGS="--stop-seconds 20"
	@scripts/venv.sh dev
	@unset PORT DATA_DIR PROCESSES; export PYTHONPATH=.:sdk/python/src; exec $(BIN)/python -m dev.reach $(ARGS)

acceptance-recovery: ## Recover 100,000 failed deliveries by a job that is killed 20 times, and measure it
	@scripts/venv.sh dev
	@exec $(BIN)/python -m dev.chaos --scenario recovery --deliveries 100000 --kills 20 --measure $(ARGS)

acceptance-search: ## Search 10 million deliveries, which takes 7 GB of disk: ARGS="--deliveries 1000000"
	@scripts/venv.sh dev
	@exec $(BIN)/python -m dev.scale $(ARGS)

acceptance-shape: ## Count filters, templates, and schemas in full: ARGS="catalog"
	@scripts/venv.sh dev
	@exec $(BIN)/python -m dev.shape $(ARGS)

fuzz: ## Try hostile input for a given time: ARGS="--minutes 30 --seed 1"
	@scripts/venv.sh dev
	@unset PORT DATA_DIR; exec $(BIN)/python -m pytest tests/adversarial/fuzzing.py -s $(ARGS)

bench: ## Measure rates, latencies and CPU time: ARGS="--scenario throughput --runs 1 --seconds 5"
	@scripts/venv.sh bench
	@exec $(BIN)/python -m dev.benchmarks $(ARGS)

lint: ## Check style, types, layers, protos and that generated files are current
	@scripts/venv.sh dev
	@scripts/lint.sh $(BIN)

image: ## Build the image webhook-service with podman or docker; ENGINE names another, ARGS go to its build
	@scripts/image.sh $(ARGS)

kind-up: ## Create a kind cluster on this machine and install everything, with autoscaled workers
	@scripts/kind.sh up

kind-demo: ## Load that cluster until workers are added, and watch them be removed
	@scripts/kind.sh demo

kind-down: ## Delete that cluster
	@scripts/kind.sh down

format: ## Format the code
	@scripts/venv.sh dev
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

generate: ## Write every generated file: stubs of protos, the SDKs, the chart's schema, settings and README, dashboards
	@scripts/venv.sh dev
	@$(BIN)/python -m scripts.generate

console-vendor: ## Put the libraries of the console into console/vendor, from npm
	@python3 scripts/console_vendor.py $(ARGS)

lock: ## Resolve the requirements again, keeping what still fits
	@scripts/venv.sh dev
	$(BIN)/python -m pip install --quiet uv
	$(COMPILE) pyproject.toml -o requirements/run.txt
	$(COMPILE) --extra local -c requirements/run.txt pyproject.toml -o requirements/local.txt
	$(COMPILE) --extra local --extra dev -c requirements/run.txt pyproject.toml -o requirements/dev.txt
	$(COMPILE) --extra local --extra dev --extra console -c requirements/run.txt pyproject.toml -o requirements/console.txt
	$(COMPILE) --extra local --extra bench -c requirements/run.txt pyproject.toml -o requirements/bench.txt
	$(COMPILE) --extra local --extra chart -c requirements/run.txt pyproject.toml -o requirements/chart.txt
	$(COMPILE) dev/benchmarks/peers/plain/requirements.in -o dev/benchmarks/peers/plain/requirements.txt

clean: ## Remove environments, tools and caches; keeps .data
	rm -rf $(VENV) .tools .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find services dev tests scripts protos -name __pycache__ -type d -prune -exec rm -rf {} +
