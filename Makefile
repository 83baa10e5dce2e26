# The two commands of the README are `make demo` and `make test`.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# Parallel test processes; one per core.
JOBS   ?= $(shell nproc 2>/dev/null || echo 2)

# Random networks, and the first one's seed. Of `make soak`: hours, and operands of each kernel flavour.
N        ?= 200
SEED     ?= 1
HOURS    ?= 8
OPERANDS ?= 100000000

.PHONY: demo test mutants lint tools prove primitives fuzz soak reproducible bench clean

demo: $(VENV)/.installed
	$(BIN)/python examples/demo.py

# Installs what the tests need (compilers, QEMU, simavr), then runs everything.
test: tools lint
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

# Makes named mistakes in a copy of the sources, one at a time: the tests have to find each.
mutants: tools $(VENV)/.dev
	$(BIN)/python tests/mutants.py --jobs $(JOBS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/mypy

tools:
	tools/install-tools.sh

# Proves all examples, a recogniser of activities and an LSTM of 128 units; takes about 6 minutes.
prove: tools $(VENV)/.installed
	$(BIN)/python benchmarks/prove.py

# All 16-bit operands of every primitive on every core, and how many were equal.
primitives: tools $(VENV)/.dev
	$(BIN)/python -m pytest -q -rP tests/test_primitives.py

# Emulators, files and C of every target on random networks: equal to the bit. A failure leaves
# its smallest network in fuzz-failures/.
fuzz: tools $(VENV)/.dev
	$(BIN)/python tests/fuzz.py --count $(N) --seed $(SEED) --jobs $(JOBS)

# What is worth running for hours, one after the other; soak-NAME runs one of them.
SOAKS := primitives networks files
.PHONY: $(SOAKS:%=soak-%)
soak: $(SOAKS:%=soak-%)

# Primitives with other seeds, until each kernel flavour has had so many operands.
soak-primitives: tools $(VENV)/.dev
	$(BIN)/python tests/soak.py $(OPERANDS)

soak-networks: tools $(VENV)/.dev
	$(BIN)/python tests/fuzz.py --count 10000000 --minutes $$((60 * $(HOURS))) --seed $(SEED) --jobs $(JOBS)

# Damaged model files: some 10000 of each format an hour.
soak-files: $(VENV)/.dev
	$(BIN)/python tests/damaged_files.py --count $$((10000 * $(HOURS))) --seed $(SEED)

bench: $(VENV)/.installed
	$(BIN)/python benchmarks/emulator_speed.py

# Oldest and newest numpy under every Python at hand: the same bytes as tests/golden has.
reproducible:
	$(PYTHON) tools/reproducible.py

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
