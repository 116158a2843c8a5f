# Two commands for a newcomer: `make demo` and `make test`. They share one environment, made once.
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The first of these that is a Python 3.10 or 3.11; give another with make PYTHON=/path/to/python3.11
PYTHON ?=

# Two workers of one thread each; each test file stays in one of them, so that what a file trains once is trained once.
# Files start in the order of tests/conftest.py, the longest first.
PYTEST := OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: help demo test test-fast test-slow test-browser test-cluster test-flower test-tff test-torch test-jax \
  test-transformers test-matrix test-gpu fuzz \
  docs reference check format selftest faults bench bench-quick bench-attacks bench-bounds bench-engine bench-federated bench-gradient \
  bench-ladder bench-scaling bench-training bench-faults clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18

demo: $(STAMP) ## the README's example: train, attack, bound, compare, report
	$(BIN)/dpaudit run examples/digits.toml

test: $(STAMP) ## the suite (test-slow and test-browser hold the rest)
	$(PYTEST) -m "not slow and not browser"

test-fast: $(STAMP) ## the lane without TensorFlow and without tests of more than 0.25 seconds
	$(PYTEST) -m "not tf and not slow and not browser and not long"

test-slow: $(STAMP) ## statistical truths that take minutes
	$(PYTEST) -m slow

test-browser: $(STAMP) ## the report in a real browser; skipped where Chromium or its driver is missing
	@sh .ci/extra.sh "$(VENV)" browser
	$(BIN)/python -m pytest -q -m browser -rs tests/browser

test-cluster: $(STAMP) ## on a Dask cluster of the loopback: workers die and join, the client is interrupted (minutes)
	$(BIN)/python -m pytest -q -m "slow or not slow" tests/runtime/test_cluster.py

test-flower: ## the Flower integration against the real package, in an environment of its own
	sh tests/integrations/flower.sh

test-tff: ## our federations beside TensorFlow Federated's, in an environment of its own
	sh tests/integrations/tff.sh

test-torch: ## what needs PyTorch and Opacus, in an environment of its own
	sh tests/framework.sh torch

test-jax: ## what needs JAX and jax-privacy, in an environment of its own
	sh tests/framework.sh jax

test-transformers: ## the reader of Hugging Face models against the real packages, in an environment of its own
	sh tests/integrations/transformers.sh

fuzz: $(STAMP) ## ten thousand hostile files of each kind (half an hour)
	DPAUDIT_FUZZ=10000 $(PYTEST) --dist load tests/fuzz

test-matrix: ## the core on Python 3.12 and 3.13, everything on TensorFlow 2.15, in environments of their own
	sh .ci/matrix.sh

test-gpu: $(STAMP) ## the engine on a GPU beside the CPU: weights, accounting, examples per second (minutes)
	$(BIN)/python -m benchmarks.gpu

docs: $(STAMP) ## the documentation as a site, in build/docs
	@sh .ci/extra.sh "$(VENV)" docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict
	@echo build/docs/index.html

reference: $(STAMP) ## the reference pages that are made from the code: docs/cli.md, docs/plan.md, docs/results.md
	$(BIN)/python .ci/reference.py

selftest: $(STAMP) ## how often every bound is wrong, on mechanisms of known ε (minutes)
	$(BIN)/dpaudit selftest --jobs 2 --out docs/selftest.json --markdown docs/selftest-table.md

faults: $(STAMP) ## run the ladder on the known faults, write docs/faults.md and docs/faults-efforts.md
	$(BIN)/dpaudit selftest --faults --markdown docs/faults.md
	$(BIN)/dpaudit selftest --faults --effort 1 --effort 3 --markdown docs/faults-efforts.md

bench: $(STAMP) ## every benchmark beside its peers, then docs/peers.md (most of an hour)
	$(BIN)/python benchmarks/all.py

bench-quick: $(STAMP) ## works beside fixed loops in the same minute; fails where one lost a quarter of its recorded speed
	OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1 TF_CPP_MIN_LOG_LEVEL=3 \
	  $(BIN)/python -m benchmarks.quick $(QUICK)

bench-attacks: $(STAMP) ## attacks beside the published loops
	$(BIN)/python benchmarks/attacks.py

bench-bounds: $(STAMP) ## bounds beside other auditors
	$(BIN)/python benchmarks/bounds.py

bench-engine: $(STAMP) ## the engine's programs beside each other and beside Keras, in CPU time (ten minutes)
	TF_CPP_MIN_LOG_LEVEL=3 $(BIN)/python -m benchmarks.engine

bench-federated: $(STAMP) ## rounds per second beside a loop of fit and beside Flower, in an environment of its own
	$(BIN)/python benchmarks/federated.py

bench-gradient: $(STAMP) ## gradient leakage beside breaching
	$(BIN)/python benchmarks/gradient.py

bench-ladder: $(STAMP) ## step canaries, shuffled batches and black-box audits: the figures of docs/ladder.md
	mkdir -p build/ladder
	$(BIN)/python benchmarks/step_canaries.py --out build/ladder/step_canaries.json
	$(BIN)/python benchmarks/shuffling.py --trials 4000 --samples 300000 --out build/ladder/shuffling.json
	$(BIN)/python benchmarks/black_box.py --architecture logistic --out build/ladder/logistic.json
	$(BIN)/python benchmarks/black_box.py --models 100 --out build/ladder/cnn.json

bench-scaling: $(STAMP) ## predicted and measured cost of five plans, growth curves, then docs/scaling.md
	$(BIN)/python -m benchmarks.scaling

bench-training: $(STAMP) ## the stacked engine beside TensorFlow Privacy, Opacus and JAX
	$(BIN)/python benchmarks/training.py

bench-faults: $(STAMP) ## the time the known faults take
	$(BIN)/python benchmarks/faults.py

check: $(STAMP) ## style, types, import contract, doctests, spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy dpaudit tests
	$(BIN)/lint-imports --no-logo
	TF_CPP_MIN_LOG_LEVEL=3 $(BIN)/python -m pytest -q --doctest-modules --doctest-continue-on-failure --ignore=dpaudit/integrations dpaudit
	$(BIN)/codespell dpaudit attacks reports tests examples benchmarks docs README.md CONTRIBUTING.md CHANGELOG.md

format: $(STAMP) ## put the style right
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(STAMP): pyproject.toml constraints-3.10.txt constraints-3.11.txt
	@sh .ci/environment.sh "$(VENV)" "$(PYTHON)"
	@touch $@

clean: ## remove what was made (not the runs)
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
