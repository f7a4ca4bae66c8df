# Every target makes and fills .venv the first time; PYTHON=python3.12 chooses the interpreter.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup quickstart test test-slow lint

setup: .venv/.ready

.venv/.ready: pyproject.toml
	$(PYTHON) -m venv .venv
	@echo "Installing into .venv (torch, Ray, ...: some minutes the first time)"
	$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check -e ".[dev]"
	@touch $@

# A real search on generated images: CPU, local Ray, W&B offline.
quickstart: setup
	./launch/local/quickstart.sh

test: setup
	$(BIN)/python -m pytest

# What takes minutes: kept out of `make test`.
test-slow: setup
	$(BIN)/python -m pytest -m slow --timeout 1800

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
