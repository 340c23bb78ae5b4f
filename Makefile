# Two commands matter: `make demo` shows the product, `make test` proves it. Both do all set-up first.
SHELL := /bin/bash
BIN := .venv/bin
unexport PYTHONDONTWRITEBYTECODE
export ISTHMUS_SITES OS_CLIENT_CONFIG_FILE

.PHONY: setup demo test test-long unit check docs bench chaos clean

setup: ## Debian packages, uv, the locked environment (at once when all is there)
	@setup/install.sh

demo: setup ## three real sites and the tour through them; leaves the lab up
	@$(BIN)/isthmus demo

unit: setup ## tests that need no root and no lab; they wait as much as they compute
	$(BIN)/python -m pytest tests/unit/plugins_neutron
	$(BIN)/python -m pytest tests/unit/plugins_nova
	$(BIN)/python -m pytest tests/unit/plugins_cinder
	$(BIN)/python -m pytest tests/unit --numprocesses 3 --dist worksteal

# One after the other: many of them look at the clock, and a clock tells nothing to whom the cores were taken.
test: setup ## everything: checks, unit, functional, lab
	@$(MAKE) --no-print-directory check unit
	$(BIN)/python -m pytest tests/functional tests/lab -m "not chaos and not long" --durations=25

test-long: setup ## the lab tests of networks and the real daemons of recovery that `make test` has no time for
	$(BIN)/python -m pytest -m "long and not chaos"

check: setup ## style, types, import contracts, documentation
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MAKE) --no-print-directory docs

docs: setup
	$(BIN)/sphinx-build -q -W -n -b html docs docs/_build/html

bench: setup ## figures against stock, side by side; results go to bench/RESULTS.md
	$(BIN)/python -m bench

chaos: setup ## long fault runs
	$(BIN)/python -m pytest -m chaos

clean: ## takes the lab down and removes what was built in this checkout
	-@[ -x $(BIN)/isthmus ] && $(BIN)/isthmus lab down
	rm -rf .venv .venv-tools build docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis
