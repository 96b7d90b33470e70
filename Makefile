# Two commands matter: `make demo` and `make test`. Each makes .venv from the lock it needs.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-full check lint docs lock clean

demo: .venv/.runtime  ## the simulator and the exporter in one go
	@$(BIN)/python -m exporter demo $(ARGS)

test: .venv/.dev check  ## everything that CI runs
	$(BIN)/pytest $(ARGS)

test-full: .venv/.dev check  ## the same tests with more rounds; longer than CI has time for
	FULL=1 $(BIN)/pytest $(ARGS)

check: .venv/.dev  ## formatting, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: .venv/.dev  ## write the generated parts of docs/ and README.md again
	$(BIN)/python -m tests.generate_docs

lock: .venv/.dev  ## resolve the pinned versions again
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-header pyproject.toml -o requirements.txt
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-header pyproject.toml --group dev -c requirements.txt -o requirements-dev.txt

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=")'
	$(PYTHON) -m venv .venv

.venv/.runtime: requirements.txt | .venv/bin/python
	$(BIN)/pip install -q --disable-pip-version-check --require-hashes --only-binary :all: -r requirements.txt
	@touch $@

.venv/.dev: requirements-dev.txt pyproject.toml | .venv/bin/python
	$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.txt
	$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@ .venv/.runtime
