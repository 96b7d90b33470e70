# Two commands matter: `make demo` and `make test`. Each makes .venv from the lock it needs.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header

# Files' tests stay together in one worker: fixtures of a file are made once.
PYTEST := $(BIN)/pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

# Where the environment forbids bytecode, each process that a test starts would compile the exporter again, for a second.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test quick test-full test-failover mutants mutants-changed check lint types tests check-image check-docs docs bench lock clean

help:  ## what can be made
	@sed -nE 's/^([a-z%-]+):.*  ## (.*)/\1\t\2/p' Makefile | expand -t 12

demo: .venv/.runtime  ## the simulator and the exporter in one go
	@$(BIN)/python -m exporter demo $(ARGS)

test: .venv/.dev  ## all checks and tests, some minutes (CI runs check-image too); ARGS="-k ledger" for a part of the tests
	@$(MAKE) --no-print-directory --jobs 2 lint types tests

quick: .venv/.dev  ## the tests that need no other program, within a minute; what has changed since main comes first
	$(PYTEST) --quick $(ARGS)

test-full: check  ## the same tests with more rounds; longer than CI has time for
	FULL=1 $(BIN)/pytest $(ARGS)

test-failover: .venv/.dev  ## PostgreSQL's primary dies in more ways and under more load than in `make test`; some minutes
	FULL=1 $(BIN)/pytest tests/runtime/test_failover.py $(ARGS)

mutants: .venv/.dev  ## small defects, each of which a test must notice; some minutes; ARGS="--only budgets" for a part
	@$(BIN)/python -m tools.mutants $(ARGS)

SINCE ?= HEAD~1
mutants-changed: .venv/.dev  ## so many of them as a minute is enough for, in files that differ from the commit SINCE
	@$(BIN)/python -m tools.mutants --changed $(SINCE) --at-most 24 $(ARGS)

check: lint types  ## formatting, lint, types

lint: .venv/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: .venv/.dev
	$(BIN)/mypy

tests: lint
	$(PYTEST) --durations 20 $(ARGS)

check-docs: .venv/.dev  ## list sentences of the docs that are over 30 words long
	@$(BIN)/python -m tools.check_docs

docs: .venv/.dev  ## write docs/, the README's table and the dashboards again, as far as they are generated
	$(BIN)/python -m tools.generate_docs

screenshots: .venv/.dev tools/render/dist  ## draw the dashboards for the README; needs node, chromium and some minutes
	$(BIN)/python -m tools.screenshots

screenshots-pages: .venv/.dev  ## draw the exporter's own pages for the README; needs chromium
	$(BIN)/python -m tools.page_screenshots

tools/render/dist: $(wildcard tools/render/src/* tools/render/*.js*) tools/render/index.html
	cd tools/render && npm ci --silent && npm run --silent build
	@touch $@

check-image:  ## build the image of the last commit and run it; needs Docker, ENGINE=podman, or root on Debian
	@tools/check-image.sh

bench: .venv/.dev  ## all benchmarks, into docs/performance.md; an hour, on an idle machine; ARGS=--quick for a look
	@$(BIN)/python -m benchmarks $(ARGS)

bench-%: .venv/.dev  ## one of them: poll, rendering, scrapes, webhooks, memory, start, growth, keeping, pages, sessions, fleet, forgetting
	@$(BIN)/python -m benchmarks $* $(ARGS)

lock: .venv/.dev  ## resolve the pinned versions again
	$(COMPILE) pyproject.toml -o requirements.txt
	$(COMPILE) pyproject.toml --group dev -c requirements.txt -o requirements-dev.txt
	$(COMPILE) --group build -c requirements-dev.txt -o requirements-build.txt

clean:  ## forget everything that make made
	rm -rf .venv tools/render/node_modules tools/render/dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

# Not bin/python: where Debian's python3-venv is missing, that file is left behind by the attempt.
.venv/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=")'
	$(PYTHON) -m venv .venv

.venv/.runtime: requirements.txt | .venv/bin/pip
	$(PIP) install --require-hashes --only-binary :all: -r requirements.txt
	@touch $@

.venv/.dev: requirements-dev.txt pyproject.toml | .venv/bin/pip
	$(PIP) install --require-hashes -r requirements-dev.txt
	$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@ .venv/.runtime
