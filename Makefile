# Two commands matter: `make demo` and `make test`. Each makes .venv from the lock it needs.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header

.PHONY: help demo test test-full test-failover check check-image docs bench lock clean

help:  ## what can be made
	@sed -nE 's/^([a-z%-]+):.*  ## (.*)/\1\t\2/p' Makefile | expand -t 12

demo: .venv/.runtime  ## the simulator and the exporter in one go
	@$(BIN)/python -m exporter demo $(ARGS)

test: check  ## everything that CI runs; ARGS="-k ledger" for a part of the tests
	$(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(ARGS)

test-full: check  ## the same tests with more rounds; longer than CI has time for
	FULL=1 $(BIN)/pytest $(ARGS)

test-failover: .venv/.dev  ## PostgreSQL's primary dies in more ways and under more load than in `make test`; some minutes
	FULL=1 $(BIN)/pytest tests/runtime/test_failover.py $(ARGS)

check: .venv/.dev  ## formatting, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: .venv/.dev  ## write docs/, the README's table and the dashboards again, as far as they are generated
	$(BIN)/python -m tools.generate_docs

screenshots: .venv/.dev tools/render/dist  ## draw the dashboards for the README; needs node, chromium and some minutes
	$(BIN)/python -m tools.screenshots

screenshots-pages: .venv/.dev  ## draw the exporter's own pages for the README; needs chromium
	$(BIN)/python -m tools.page_screenshots

tools/render/dist: $(wildcard tools/render/src/* tools/render/*.js*) tools/render/index.html
	cd tools/render && npm ci --silent && npm run --silent build
	@touch $@

check-image:  ## build the image and run it: healthy, read-only, with TLS; needs docker, or ENGINE=podman
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
