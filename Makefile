# Every target makes and fills .venv the first time; PYTHON=python3.12 chooses the interpreter.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup setup-with-pip quickstart test test-slow test-cluster test-lowest lint dist gpu

setup: .venv/.ready

.venv/.ready: pyproject.toml
	$(PYTHON) -m venv .venv
	@echo "Installing into .venv (torch, Ray, ...: a minute or two the first time)"
	$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -e ".[dev]" || $(MAKE) --no-print-directory setup-with-pip
	@touch $@

# Takes five times as long as uv, but an index that only pip's configuration names is found.
setup-with-pip:
	$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check -e ".[dev]"

# A real search on generated images: CPU, local Ray, W&B offline.
quickstart: setup
	./launch/local/quickstart.sh

# In four processes, as many tests wait for a start of Ray; those of a file stay together, as they share what is costly to
# make. In the order of tests/conftest.py, not by the number of a file's tests, which would begin with the quickest.
test: setup
	$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder --max-worker-restart 0

# What takes minutes: kept out of `make test`.
test-slow: setup
	$(BIN)/python -m pytest -m slow --timeout 1800

# Several hosts in network namespaces, and a Slurm of our own (apt-get install iproute2 slurm-wlm munge). As root, or where
# the kernel lets users be root in a namespace.
test-cluster: setup
	$(if $(filter-out 0,$(shell id -u)),unshare --user --map-root-user) $(BIN)/python -m pytest tests/cluster -m cluster -rs

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The wheel, tried in an environment of its own: it sees this one's packages, but not this source tree.
dist: setup
	rm -rf dist build/wheel-check
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	$(BIN)/python -m venv build/wheel-check
	build/wheel-check/bin/python -m pip install --quiet --disable-pip-version-check --no-deps dist/*.whl
	$(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" > packages.pth
	mv packages.pth "$$(build/wheel-check/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/packages.pth"
	cd build/wheel-check && bin/u2pl-ray --help > /dev/null && bin/python $(CURDIR)/tests/wheel.py

# The oldest versions that pyproject.toml allows of what it names, in an environment of their own; a fast part of the tests.
test-lowest: setup
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-lowest
	$(BIN)/uv pip install --quiet --python .venv-lowest --resolution lowest-direct -e ".[dev]"
	.venv-lowest/bin/python -m pytest -m "not slow and not ray" tests/config tests/data tests/method tests/models \
		tests/system tests/tracking tests/search

# What only a GPU can tell, in eight minutes: see benchmarks/gpu/__main__.py. Needs no Ray; takes a chosen PYTHON, else
# .venv if it is there. ARGS="--reference U2PL" compares with the published implementation.
gpu:
	$(if $(filter-out file,$(origin PYTHON)),$(PYTHON),$(firstword $(wildcard $(BIN)/python) $(PYTHON))) -m benchmarks.gpu $(ARGS)
