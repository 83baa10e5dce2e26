# The two commands of the README are `make demo` and `make test`.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# Parallel test processes; one per core.
JOBS   ?= $(shell nproc 2>/dev/null || echo 2)

.PHONY: demo test lint tools prove bench clean

demo: $(VENV)/.installed
	$(BIN)/python examples/demo.py

# Installs what the tests need (compilers, QEMU, simavr), then runs everything.
test: tools lint
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/mypy

tools:
	tools/install-tools.sh

# Proves all examples, a recogniser of activities and an LSTM of 128 units; takes about 6 minutes.
prove: tools $(VENV)/.installed
	$(BIN)/python benchmarks/prove.py

bench: $(VENV)/.installed
	$(BIN)/python benchmarks/emulator_speed.py

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
