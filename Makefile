# `make demo` and `make test` are the two commands; the rest is for people who work on Strata.
SHELL := /bin/bash -o pipefail
PYTHON ?= python3
BIN := .venv/bin
DEMO_CUSTOMERS ?= 1500
DEMO_DAYS ?= 200
# Interpreter with the packages of the benchmarks' peers (benchmarks/README.md).
PEER_PYTHON ?= $(BIN)/python

.DEFAULT_GOAL := help
.PHONY: help demo test soak ui lint bench bench-growth bench-guard clean

help:
	@sed -n 's/^\([a-z.-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

# The stamp is written last, so an interrupted set-up starts again instead of passing for complete.
.venv: .venv/.complete ## set up the environment alone
.venv/.complete: requirements.lock pyproject.toml
	@echo "[1/3] installing the locked packages (about a minute)"
	$(PYTHON) -m venv .venv
	@# The locked pip comes first: the one of an older Python takes twice as long for the others.
	@sed -n '/^pip==/,/[^\\]$$/p' requirements.lock >.venv/pip.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-compile -r .venv/pip.lock
	@$(BIN)/python -m pip install --disable-pip-version-check --require-hashes --no-compile -r requirements.lock \
	    | sed -un 's/^Collecting \([^ ]*\).*/      \1/p; s/^Installing collected.*/      unpacking/p'
	@echo "      compiling"
	@# On all cores, where pip takes one. Like pip it goes on where this Python cannot read a file of a package.
	@$(BIN)/python -m compileall -qq -j 0 .venv/lib || true
	@echo "[2/3] installing strata itself"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	@echo "[3/3] reading the dbt project"
	$(BIN)/python -m pipeline.transform.dbt
	@touch $@

demo: .venv/.complete ## sample company → daily job → a release, and where to look at it
	$(BIN)/strata sample --out landing --customers $(DEMO_CUSTOMERS) --days $(DEMO_DAYS) --seed 7
	$(BIN)/strata run --landing landing
	@$(BIN)/strata releases show

test: .venv/.complete ## every test, two at a time
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

soak: .venv/.complete ## the tests that have a full size (10,000 fuzzed files, 365 days) at that size
	STRATA_SOAK=1 $(BIN)/python -m pytest -m soak

ui: .venv/.complete ## Dagster UI on 127.0.0.1
	$(BIN)/strata ui

lint: .venv-lint/.complete ## style of Python and YAML, types, and Dagster's own check of the definitions
	.venv-lint/bin/ruff check .
	.venv-lint/bin/ruff format --check .
	.venv-lint/bin/yamllint --strict .
	.venv-lint/bin/mypy
	$(BIN)/dg check defs

# Linters live apart: some of them pin other versions of what the product runs on.
.venv-lint/.complete: requirements-lint.lock .venv/.complete
	$(PYTHON) -m venv .venv-lint
	.venv-lint/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-lint.lock
	@touch $@

bench: .venv/.complete ## our job and our ingest beside their peers, 1 M and 10 M order lines
	$(BIN)/python -m benchmarks.scale --rows 1000000 --json var/bench/1m.json
	$(BIN)/python -m benchmarks.scale --rows 10000000 --json var/bench/10m.json
	$(BIN)/python -m benchmarks.ingest --rows 10000000 --json var/bench/ingest.json
	$(BIN)/python -m benchmarks.identity
	$(BIN)/python -m benchmarks.identity --scale 1000000

bench-growth: .venv/.complete ## 1, 10 and 100 M order lines → benchmarks/results, growth.svg, docs/scaling.md
	$(BIN)/python -m benchmarks.scale --rows 1000000 10000000 100000000 --runs 1 --peers script,spark \
	    --peer-python $(PEER_PYTHON) --json benchmarks/results/growth.json
	$(BIN)/python -m benchmarks.growth

bench-guard: .venv/.complete ## fails where a ratio of our job to its peers is far from what it was
	$(BIN)/python -m benchmarks.scale --rows 1000000 --runs 1 --peers script --increment --json var/bench/guard.json
	$(BIN)/python -m benchmarks.guard --report var/bench/guard.json

clean: ## everything that the targets above made, apart from landing/ and var/ (your data)
	rm -rf .venv .venv-lint dbt_project/target dbt_project/logs .pytest_cache .ruff_cache .mypy_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
