# Two commands for a newcomer: `make demo` and `make test`. They share one environment, made once.
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The first of these that is a Python 3.10 or 3.11; give another with make PYTHON=/path/to/python3.11
PYTHON ?=

.PHONY: demo test test-fast test-slow check format selftest bench-bounds bench-training bench-attacks clean help

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18

demo: $(STAMP) ## the README's example: train, attack, bound, compare, report
	$(BIN)/dpaudit run examples/digits.toml

test: $(STAMP) ## the whole suite
	$(BIN)/python -m pytest -q -m "not tf and not slow"
	$(BIN)/python -m pytest -q -m "tf and not slow"

test-fast: $(STAMP) ## the lane without TensorFlow, under a minute
	$(BIN)/python -m pytest -q -m "not tf and not slow"

test-slow: $(STAMP) ## statistical truths that take minutes
	$(BIN)/python -m pytest -q -m slow

check: $(STAMP) ## style, types, import contract, doctests, spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy dpaudit tests
	$(BIN)/lint-imports --no-logo
	TF_CPP_MIN_LOG_LEVEL=3 $(BIN)/python -m pytest -q --doctest-modules --doctest-continue-on-failure dpaudit
	$(BIN)/codespell dpaudit attacks reports tests examples benchmarks docs README.md CONTRIBUTING.md CHANGELOG.md

format: $(STAMP) ## put the style right
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(STAMP): pyproject.toml constraints-3.10.txt constraints-3.11.txt
	@sh .ci/environment.sh "$(VENV)" "$(PYTHON)"
	@touch $@

clean: ## remove what was made (not the runs)
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
