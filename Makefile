# From a fresh clone: `make run`, `make test`. Needs Python 3.11 or newer, make and a package index, nothing else.

PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
WORKERS ?= 4
MAKEFLAGS += --jobs=2 # programs are fetched while the code is checked

BIN := .venv/bin
INSTALLED := .venv/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
PYTEST := $(BIN)/python -m pytest -p tests.no_skips
LOCK := $(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras \
	--no-emit-index-url --no-emit-find-links --no-emit-options

.PHONY: help install fetch run check test bench soak pages image lock clean

help: ## these lines
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

install: $(INSTALLED) ## the locked dependencies and portal-monitor itself, into .venv

$(INSTALLED): requirements-dev.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "There is no Python 3.11 or newer on PATH."; exit 1; }
	@echo "Installing into .venv (once)"
	@$(PYTHON) -m venv .venv || { echo "Python's venv is missing; on Debian: apt install python3-venv"; exit 1; }
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@$(PIP) install --no-deps -e .
	@touch $@

fetch: install ## the programs that Debian ships (Alertmanager, Prometheus, mtail, logrotate), into .tools
	@tools/fetch

run: install fetch ## a portal to watch, and the daemon on it; prints the console's address
	@$(BIN)/portal-monitor sandbox up

check: install ## lint, format, types and the direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

test: install fetch check ## check, and then every test against real servers
	$(PYTEST) -n $(WORKERS) -m "not soak"

soak: install fetch ## the same storms, longer; prints its seeds
	$(PYTEST) -s -m soak

bench: install fetch ## what is fast, measured
	@for file in bench/[a-z]*.py; do echo "== $$file"; PYTHONPATH=. $(BIN)/python "$$file" || exit 1; done

pages: install ## docs/probes.md, docs/thresholds.md and Grafana's dashboard, which are made of the code and the files
	PYTHONPATH=. $(BIN)/python tools/probe_docs.py
	$(BIN)/python -m tests.thresholds
	$(BIN)/python tools/dashboard.py

image: install ## the container image, built without Docker and proven (needs root, debootstrap and buildah)
	tools/image

lock: install ## resolve the dependencies anew
	$(PIP) install pip-tools
	$(LOCK) --upgrade --all-extras --output-file=requirements-dev.lock pyproject.toml
	$(LOCK) --constraint=requirements-dev.lock --output-file=requirements.lock pyproject.toml

clean: ## remove everything that was made here
	rm -rf .venv .tools .sandbox build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
