# Two commands from a clean clone: `make demo` and `make test`. Everything goes into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# which build of torch: add pip options here, an --index-url for a CPU or CUDA build say
TORCH ?= torch==2.13.0
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install -q -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test check docs bench install install-dev install-bench index clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 16

# torch comes first, so that everything else fits the build that was asked for
$(VENV)/.torch:
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -q $(TORCH)
	touch $@

$(VENV)/.core: $(VENV)/.torch pyproject.toml constraints.txt
	$(INSTALL) -e .
	touch $@

$(VENV)/.dev: $(VENV)/.torch pyproject.toml constraints.txt
	$(INSTALL) -e '.[all,dev]'
	touch $@ $(VENV)/.core

$(VENV)/.bench: $(VENV)/.dev
	$(INSTALL) -e '.[all,dev,bench]'
	touch $@

install: $(VENV)/.core ## install the package into .venv
install-dev: $(VENV)/.dev ## with all extras, tests, lint, types and docs
install-bench: $(VENV)/.bench ## with peers and oracles for benchmarks

demo: install ## the main job end to end on real data
	$(BIN)/labelwright demo --out labelwright-demo

test: install-dev ## run the tests on two processes
	$(BIN)/python -m pytest -q -n 2

check: install-dev ## lint, format, types, import contracts, generated index
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m labelwright._generate --check

index: install-dev ## write src/labelwright/_index.py from the registered classes
	$(BIN)/python -m labelwright._generate

docs: install-dev ## build the documentation strictly into site/
	$(BIN)/python -m mkdocs build --strict

bench: install-bench ## run the benchmarks that have no result yet
	$(BIN)/python benchmarks/run.py

clean: ## remove what was built, not .venv
	rm -rf build dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
