# make demo   see it work            make check   the gates
# make test   run the tests          make fix     repair what can be repaired by itself
# make setup  only prepare .venv     make clean   remove what these commands made
# make bench  measure the speed beside transformers' Trainer (half an hour; ONLY=P1,P4 for a part)
#
# PYTHON=python3.12 chooses the interpreter; TORCH_INDEX=URL adds a package index to look for torch in (its wheel for
# Linux in the default index carries CUDA and is large).

PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
DEMO_ARGS ?=
TEST_ARGS ?=
ONLY ?=
BENCH_ARGS ?=

BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
BENCH_STAMP := $(VENV)/.bench-ready
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
OFFLINE := HF_HUB_OFFLINE=1 HF_HUB_DISABLE_TELEMETRY=1

.DEFAULT_GOAL := help
.PHONY: help setup demo test bench check fix clean

help:
	@sed -n '/^$$/q; s/^# \{0,1\}//p' Makefile

setup: $(STAMP)

# torch first and pinned: resolved beside the rest, pip may fetch several builds of it before it settles.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "unfreeze needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Say which one to use: make PYTHON=python3.12")'
	@echo "Preparing $(VENV): the first time takes a few minutes."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) torch
	$(PIP) --editable '.[demo,dev]'
	@touch $@

demo: $(STAMP)
	@$(OFFLINE) $(BIN)/unfreeze demo $(DEMO_ARGS)

test: $(STAMP)
	$(OFFLINE) $(BIN)/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=worksteal --cov --cov-report=term --cov-report=json $(TEST_ARGS)
	@$(BIN)/python tools/gates.py --coverage coverage.json

# What the other side needs and the library does not.
$(BENCH_STAMP): $(STAMP)
	$(PIP) accelerate==1.15.0
	@touch $@

bench: $(BENCH_STAMP)
	@$(OFFLINE) $(BIN)/python benchmarks/bench.py $(if $(ONLY),--only $(ONLY)) $(BENCH_ARGS)

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/gates.py

fix: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist .coverage .coverage.* coverage.json .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
