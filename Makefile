# Each target is enough on a fresh clone with Python 3.11 or newer and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: setup demo test check lint types format clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "memrl needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	@echo "Installing memrl and what it needs into $(VENV); this takes minutes the first time."
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --constraint constraints.txt --editable '.[dev]'
	@touch $(STAMP)

demo: setup
	$(BIN)/memrl compare --env memrl/TMaze-v0 --cores none,lstm,ntm,dnc,memformer --seeds 1 --steps 150000 --stop-at 0.98 \
		--n-envs 32 --set n_steps=64 ent_coef=0.03 --run-dir demo

# One process for each CPU core, so one thread in each.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q --numprocesses auto --dist loadgroup

# Examples in README, docs and docstrings are run by `make test`; here it is links, tables, commands and import rules.
check: lint types
	$(BIN)/python -m pytest -q tests/test_imports.py tests/test_docs.py -k "not python_blocks and not doctests"

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

# On an installed copy: mypy cannot see that the folders envs/ and agents/ are memrl.envs and memrl.agents.
types: setup
	rm -rf build
	$(PIP) --no-index --no-deps --no-build-isolation --target build/installed .
	MYPYPATH=build/installed $(BIN)/python -m mypy -p memrl

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
