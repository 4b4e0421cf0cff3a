# make demo: from nothing to moving characters. PYTHON names a Python 3.11 or newer.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check

demo: .venv/installed
	$(BIN)/python examples/01_demo.py

test: .venv/installed-dev
	$(BIN)/pytest -rs

check: .venv/installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check src tests examples benchmarks
	$(BIN)/pyright

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Kinema needs Python 3.11 or newer: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install -e .
	@touch $@

.venv/installed-dev: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install -e '.[dev]'
	@touch $@ .venv/installed
