# make train   sets up .venv if it is missing and trains the default recipe
# make test    the same set-up, then ruff, then all tests but the slow ones; one of them is the check of types
# make quick   the tests of the files touched, in at most a minute
# make slow    the slow tests; keeps their result in tests/slow_result.txt
# make browser the pages of `components explain` in a real Chromium; keeps their result in tests/browser_result.txt
# make lint    ruff, and pyright over all of src (about a minute)
# make generated  writes again what is made from the source: catalogue, pairs, goldens, the picture of the rooms
# make oldest  a smoke subset with the oldest versions that pyproject.toml allows, in .venv-oldest
# make newest  the same with the newest, in .venv-newest
# make resolve asks the registry whether all extras install together
# make gpu     what holds on a GPU and how fast, into docs/gpu.md; where there is none it says so
# make docs    the site, into site/: open site/index.html

# the first Python that is new enough, unless PYTHON=... says which
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
ifeq ($(origin PYTHON)$(wildcard .venv/bin/python),undefined)
PYTHON := $(shell for p in python3 python3.13 python3.12 python3.11 python3.14 python; do $$p -c "$(NEW_ENOUGH)" 2>/dev/null && echo $$p && break; done)
endif
TORCH ?= torch==2.13.0

BIN := .venv/bin
STAMP := .venv/.installed
# two workers of one thread each: as fast as one with two, and the same on every machine
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

.PHONY: setup train test quick slow browser ruff lint generated docs oldest newest gpu resolve

setup: $(STAMP)

# torch first, so that the version that was tested is there before anything else asks for one
$(STAMP): pyproject.toml
	@test -x $(BIN)/python || test -n "$(PYTHON)" || { echo "no Python 3.11 or later found: install one, or say where: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -c "$(NEW_ENOUGH)" || { echo "$(PYTHON) is too old: 3.11 or later is needed" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { rm -rf .venv; echo "$(PYTHON) cannot make a .venv; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "installing $(TORCH), then this package and its tools: minutes the first time, nothing the next"
	$(BIN)/python -m pip install --disable-pip-version-check -q $(TORCH)
	$(BIN)/python -m pip install --disable-pip-version-check -q -e '.[dev]'
	@touch $@

train: $(STAMP)
	$(BIN)/components train $(ARGS)

# types are checked by one of the tests, on a core of its own
test: ruff
	$(PYTEST) -m "not slow" $(ARGS)

quick: $(STAMP)
	@$(BIN)/python tests/quick.py $(ARGS)

slow: $(STAMP)
	@OMP_NUM_THREADS=2 $(BIN)/python tests/slow.py $(ARGS)

browser: $(STAMP)
	@OMP_NUM_THREADS=2 $(BIN)/python tests/browser/run.py $(ARGS)

ruff: $(STAMP)
	$(BIN)/ruff check src tests
	$(BIN)/ruff format --check src tests

lint: ruff
	@if command -v node >/dev/null; then $(BIN)/pyright; else echo 'no node here, which pyright runs on: types are not checked'; fi

generated: $(STAMP)
	$(BIN)/python tests/test_catalogue.py
	$(BIN)/python tests/test_pairs.py
	$(BIN)/python tests/test_every_recipe.py
	$(BIN)/python tests/interop/test_every_architecture.py
	$(BIN)/python tests/distributed/pieces.py --write
	$(BIN)/python bench/house.py --picture docs/architecture.svg
	@echo "not made again, since they take longer: see the table in CONTRIBUTING.md"

docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "site/index.html"

# what is tried with other versions: composing, building, the contracts, whole runs, the wheel
SMOKE := tests/test_packaging.py tests/test_contracts.py tests/training/test_runs.py
ALONE := pytest pytest-timeout hypothesis build 'hatchling>=1.26' pyyaml
# the Python whose venv these make: PYTHON=... says which
OTHER := $(or $(PYTHON),$(BIN)/python)

oldest:
	$(OTHER) -m venv --clear .venv-oldest
	.venv-oldest/bin/python -m pip install --disable-pip-version-check -q packaging
	.venv-oldest/bin/python .ci/constraints.py > .venv-oldest/constraints.txt
	.venv-oldest/bin/python -m pip install --disable-pip-version-check -q -c .venv-oldest/constraints.txt -e . $(ALONE)
	OMP_NUM_THREADS=1 .venv-oldest/bin/python -m pytest $(SMOKE) $(ARGS)

newest:
	$(OTHER) -m venv --clear .venv-newest
	.venv-newest/bin/python -m pip install --disable-pip-version-check -q -U -e . $(ALONE)
	OMP_NUM_THREADS=1 .venv-newest/bin/python -m pytest $(SMOKE) $(ARGS)

# with what is installed: no set-up, so that it runs where there is no network
gpu:
	PYTHONPATH=src $(OTHER) bench/gpu.py $(ARGS)

resolve:
	$(OTHER) -m venv --clear .venv-resolve
	.venv-resolve/bin/python -m pip install --disable-pip-version-check -q --dry-run '.[data,wandb,tensorboard,interop,gguf,onnx,ladder,docs,bleu,dedup,fp8,fast,stats,studies,harness,dev]'
