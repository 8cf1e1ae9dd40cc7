# Each target sets up what it needs: a fresh machine has python3 (3.11 or newer) with venv, and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CONFIG ?= config.yaml
# More workers than the two cores that most machines have at least: many tests wait. In the order of the folders, because
# the last one has the short tests, and nobody ends long after the others.
PYTEST := $(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder

.PHONY: demo run test check crash-test bench lock clean

demo: $(VENV)/.runtime
	@$(BIN)/cambwatch demo

run: $(VENV)/.runtime
	@test -f "$(CONFIG)" || { echo "No $(CONFIG) here. Make one: cp config.example.yaml $(CONFIG), then set your key and your Slack URL in it." >&2; exit 1; }
	@exec $(BIN)/cambwatch run --config "$(CONFIG)"

test: $(VENV)/.dev
	@$(PYTEST)

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTEST)

# make crash-test N=100 [SECONDS=300] [SEED=7] [STORE=postgres] [LOG=FILE]: see docs/crash-campaign.md
crash-test: $(VENV)/.dev
	@PYTHONPATH=tests $(BIN)/python tests/crash/campaign.py --kills $(or $(N),100) \
	  $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED)) $(if $(STORE),--store $(STORE)) $(if $(LOG),--log $(LOG))

bench: $(VENV)/.dev
	@$(BIN)/python benchmarks/polling.py
	@$(BIN)/python benchmarks/main_job.py
	@$(BIN)/python benchmarks/deliveries.py
	@$(BIN)/python benchmarks/idle.py
	@$(BIN)/python benchmarks/nodes.py
	@$(BIN)/python benchmarks/cadence.py
	@$(BIN)/python benchmarks/cadence_daemon.py
	@$(BIN)/python benchmarks/operating.py
	@$(BIN)/python benchmarks/slow_clients.py

# requirements/ pins what is installed, with hashes: runtime.txt, extras.txt (all extras besides) and dev.txt (what the
# tests need besides). This writes the three files again.
lock: $(VENV)/.dev
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  pyproject.toml --group build --output-file requirements/runtime.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  pyproject.toml --all-extras --group build --constraints requirements/runtime.txt --output-file requirements/extras.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  pyproject.toml --group build --group dev --constraints requirements/extras.txt --output-file requirements/dev.txt

clean:
	rm -rf $(VENV)

$(VENV)/.runtime: requirements/runtime.txt pyproject.toml | $(VENV)/.made
	@echo "Setting up in $(VENV), once ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/runtime.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements/dev.txt pyproject.toml | $(VENV)/.made
	@echo "Setting up in $(VENV), with what the tests need, once ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/dev.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@ $(VENV)/.runtime

$(VENV)/.made:
	@command -v $(PYTHON) >/dev/null || { echo "cambwatch needs python3, 3.11 or newer: install it (Debian: apt-get install python3 python3-venv)." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "cambwatch needs Python 3.11 or newer, and $(PYTHON) is older: name a newer one with PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "cambwatch needs Python's venv module: install it (Debian: apt-get install python3-venv)." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) && touch $@
