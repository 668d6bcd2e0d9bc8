# `make run` needs Python 3.11 and a network, once; `make test` also Node, Chromium, a C compiler
# and Redis, which it installs on Debian when it may. Installing is remembered by files that are
# newer than what they were made from.

PYTHON ?= python3
PORT ?= 8000
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check
NPM := npm install --no-package-lock --no-audit --no-fund --loglevel=error
# Debian has nginx where not every user looks.
export PATH := $(PATH):/usr/sbin

.PHONY: run test check lint format tools clean
.DEFAULT_GOAL := run

# The server with the embedded store (in ./data) and the sample blog.
run: $(VENV)/.installed
	@HOST=127.0.0.1 PORT=$(PORT) $(BIN)/liveblog demo
	@exec $(BIN)/liveblog serve --host 127.0.0.1 --port $(PORT)

# Everything. The last line is pytest's count.
test: $(VENV)/.installed-test tools tests/browser/node_modules/.installed
	@$(MAKE) --no-print-directory lint
	@$(BIN)/pytest tests

# What is fast: all of lint, and the unit tests.
check: $(VENV)/.installed-test
	@$(MAKE) --no-print-directory lint
	@$(BIN)/pytest --quiet tests/unit

# Format, lint, types, the scripts' tests and types.
lint: $(VENV)/.installed-test
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary
	@if command -v node >/dev/null; then $(MAKE) --no-print-directory scripts; \
	  else echo "no node: the scripts' tests are left out" >&2; fi
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory types; \
	  else echo "no npm: the scripts' types are left out" >&2; fi

# 100,000 generated streams of bytes from readers, against websockets as the oracle; and 10,000
# stories of a blog, its store, its workers and its readers.
.PHONY: long
long: $(VENV)/.installed-test
	@LONG=1 $(BIN)/pytest tests/unit/test_rfc6455.py tests/unit/test_hub_world.py

# Seeded bugs, and which invariant each breaks, as two tables: hub and timeline; door and connections.
.PHONY: mutants
mutants: $(VENV)/.installed-test
	@PYTHONPATH=tests $(BIN)/python -m kit.mutants
	@PYTHONPATH=tests $(BIN)/python -m kit.mutants_door

# All of the output when one fails, else only the counts.
.PHONY: scripts
scripts:
	@cd tests/js && said=$$(node --test 2>&1) \
	  && echo "$$said" | grep -E 'tests|pass' | tail -n 2 | tr '\n' ' ' && echo "(tests/js)" \
	  || { echo "$$said"; exit 1; }

.PHONY: types
types: tests/js/node_modules/.installed
	@cd tests/js && npm run --silent types

format: $(VENV)/.installed-test
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

# From the editor's key press to the painted change in a reader's window, as a table.
.PHONY: delay screenshots bench peer
delay: $(VENV)/.installed-test tools
	@PYTHONPATH=tests $(BIN)/python -m measure.delay

# What the reader's page must keep to, as a table; 4 minutes. ARGS="--only axe,memory" for a part.
.PHONY: page
page: $(VENV)/.installed-test tools tests/browser/node_modules/.installed
	@PYTHONPATH=tests $(BIN)/python -m measure.figures $(ARGS)

screenshots: $(VENV)/.installed-test tools
	@PYTHONPATH=tests $(BIN)/python -m measure.screenshots

# The figures of the fan-out engine, side by side with nginx/nchan and a C program, as a table; half
# an hour. ARGS="--only against --readers 2000 --rounds 1" for a part of it.
bench: $(VENV)/.installed-test tools peer
	@PYTHONPATH=tests $(BIN)/python -m measure.bench $(ARGS)

# Every fault at its full length, and the matrix of what each of them showed; 6 minutes.
.PHONY: chaos soak
chaos: $(VENV)/.installed-test tools
	@CHAOS_LONG=1 $(BIN)/pytest --quiet tests/chaos

# Readers who come and go, and faults at random, for as long as it is told; then a table.
soak: $(VENV)/.installed-test
	@PYTHONPATH=tests $(BIN)/python -m measure.soak $(ARGS)

# nchan to compare with, where it can be had. RUNLEVEL=1 keeps Debian from starting an nginx.
peer:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && ! command -v nginx >/dev/null; then \
	  { apt-get update -qq && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
	    apt-get install -y -qq --no-install-recommends nginx libnginx-mod-nchan iproute2; } >&2 </dev/null; \
	fi

clean:
	@rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@rm -rf tests/js/node_modules tests/browser/node_modules

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
	  || { echo "no venv could be made; on Debian: apt-get install python3-venv" >&2; exit 1; }

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	@echo "installing into $(VENV)" >&2
	@$(PIP) --editable .
	@touch $@

$(VENV)/.installed-test: pyproject.toml | $(BIN)/python
	@echo "installing into $(VENV), with what tests need" >&2
	@$(PIP) --editable '.[test]'
	@touch $@ $(VENV)/.installed

tests/js/node_modules/.installed tests/browser/node_modules/.installed: \
  tests/%/node_modules/.installed: tests/%/package.json
	@cd tests/$* && $(NPM)
	@touch $@

# What pip does not bring. RUNLEVEL=1 keeps Debian from starting a Redis of its own.
tools: $(VENV)/.installed-test
	@missing=; \
	for pair in node:nodejs npm:npm redis-server:redis-server cc:gcc openssl:openssl chromium:chromium nginx:nginx; do \
	  command -v $${pair%%:*} >/dev/null || missing="$$missing $${pair##*:}"; \
	done; \
	case "$$missing" in *gcc*) missing="$$missing libc6-dev";; esac; \
	[ -z "$$missing" ] && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  { apt-get update -qq && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
	    apt-get install -y -qq --no-install-recommends $$missing; } >&2 </dev/null; \
	elif [ "$$missing" = " chromium" ]; then \
	  $(BIN)/playwright install chromium >&2; \
	else \
	  case "$$missing" in *chromium*) $(BIN)/playwright install chromium >&2;; esac; \
	  echo "please install:$${missing% chromium}" >&2; exit 1; \
	fi
