# Passerelle's commands; `make` alone lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help run test check format lint types contracts docs docs-check bench bench-rag lock cov clean

help: ## list these commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/run.stamp: requirements.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Passerelle needs Python 3.11 or newer, for example: make run PYTHON=python3.12")'
	@echo "Installing into $(VENV) (once, about 20 seconds) ..."
	@test -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV) || (rm -rf $(VENV); echo "On Debian and Ubuntu: apt install python3-venv"; exit 1)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@printf '#!/bin/sh\nPYTHONPATH="%s" exec "%s/python" -m backend "$$@"\n' "$(CURDIR)" "$(CURDIR)/$(BIN)" > $(BIN)/passerelle
	@chmod +x $(BIN)/passerelle
	@touch $@

$(VENV)/dev.stamp: requirements-dev.txt $(VENV)/run.stamp
	@echo "Installing what the tests need ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@

run: $(VENV)/run.stamp ## install what is needed and serve on 127.0.0.1:8000
	@$(BIN)/python -m backend serve; status=$$?; test $$status -eq 130 && exit 0 || exit $$status

test: $(VENV)/dev.stamp ## install what the tests need and run them all (about half an hour on two cores)
	$(BIN)/python -m pytest -n 2 --cov --cov-report=term
	$(BIN)/python -m tests.coverage_floors

check: $(VENV)/dev.stamp format-check lint types contracts docs-check ## format, lint, types, import contracts, generated docs

format: $(VENV)/dev.stamp ## write all code in the one format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix-only .

.PHONY: format-check
format-check: $(VENV)/dev.stamp
	$(BIN)/ruff format --check .

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .

types: $(VENV)/dev.stamp
	$(BIN)/mypy

contracts: $(VENV)/dev.stamp
	$(BIN)/lint-imports

docs: $(VENV)/dev.stamp ## write docs/configuration.md, docs/api.md and .env.example from the code
	$(BIN)/python -m backend.cli.reference

docs-check: $(VENV)/dev.stamp
	$(BIN)/python -m backend.cli.reference --check

bench: $(VENV)/run.stamp ## measure CPU, latency and memory beside nginx (needs gcc and nginx)
	$(BIN)/python benchmarks/run.py

bench-rag: $(VENV)/run.stamp ## measure how well passages are found, and how fast
	$(BIN)/python benchmarks/retrieval/run.py

lock: ## compile requirements.txt and requirements-dev.txt from pyproject.toml
	test -x .venv-lock/bin/pip-compile || ($(PYTHON) -m venv .venv-lock && .venv-lock/bin/pip install --quiet pip-tools)
	.venv-lock/bin/pip-compile --quiet --generate-hashes --no-strip-extras --no-header --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --allow-unsafe --extra dev --output-file requirements-dev.txt pyproject.toml
	sed -E 's/^([A-Za-z0-9._-]+)\[[^]]*\]/\1/' requirements-dev.txt > .venv-lock/constraints.txt
	.venv-lock/bin/pip-compile --quiet --generate-hashes --no-strip-extras --no-header --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --constraint .venv-lock/constraints.txt --output-file requirements.txt pyproject.toml

clean: ## remove everything that was built or installed here
	rm -rf $(VENV) .venv-lock .mypy_cache .ruff_cache .pytest_cache .coverage* htmlcov benchmarks/build
