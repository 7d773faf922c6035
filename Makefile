# make demo: see it work; make test: check all of it. Both need Python 3.11 or later with pip and venv, nothing else.
PYTHON ?= python3
BIN := .venv/bin

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo test test-compiled test-slurm test-old-duckdb faults fuzz lint wheels format docs clean
.DELETE_ON_ERROR:

help: ## Say what there is to make.
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 16

demo: .venv/core ## Turn the photos in data/ into verified shards, in the folder demo/.
	VIRTUAL_ENV=.venv PATH="$(CURDIR)/$(BIN):$$PATH" bash scripts/demo.sh

test: .venv/dev lint ## Run the linters and the tests.
	$(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist loadfile \
		-m "not slurm and not compiled and not recipes and not old_duckdb"

test-compiled: .venv/dev ## Run a recipe of each network through torch.compile (takes minutes and a C++ compiler).
	$(BIN)/pytest -m compiled

test-slurm: .venv/dev ## Run the tests that need Slurm (Debian: apt-get install slurm-wlm munge).
	$(BIN)/pytest -m slurm

test-old-duckdb: .venv/duckdb-1.5.0 ## Run the tests of mappings that the oldest and the newest DuckDB share.
	SHARDFORGE_OLD_DUCKDB=$(CURDIR)/$< $(BIN)/pytest -m old_duckdb

faults: .venv/dev ## Let calls of the operating system fail under every command, a seeded sample of them (needs a C compiler).
	$(BIN)/python scripts/faults.py --seed 1 --points 60

fuzz: .venv/dev ## Throw damaged bytes at all readers for a minute (x86_64 Linux).
	$(BIN)/python scripts/fuzz.py --seconds 60

lint: .venv/dev ## Check style and types.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

wheels: .venv/dev ## Resolve the install and its extras from wheels, for each platform and Python (asks the package index).
	$(BIN)/python scripts/resolve_wheels.py

format: .venv/dev ## Bring the code into its format.
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: .venv/dev ## Write docs/commands.md from the commands' own help, and the numbers in data_card.md.
	$(BIN)/python scripts/make_reference.py
	$(BIN)/python scripts/make_data_card.py

clean: ## Remove what make has made.
	rm -rf .venv demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/core: .venv/pyvenv.cfg
	$(BIN)/pip install --quiet --editable .
	touch $@

.venv/dev: .venv/pyvenv.cfg
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

.venv/duckdb-1.5.0: .venv/dev
	$(BIN)/pip install --quiet --no-deps --upgrade --target $@ duckdb==1.5.0

.venv/pyvenv.cfg: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Error: $(PYTHON) is not Python 3.11 or later; name one that is: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || \
		{ echo "Error: $(PYTHON) cannot make virtual environments; on Debian: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv --clear .venv
