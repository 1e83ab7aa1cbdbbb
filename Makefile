PYTHON ?= python3
VENV ?= .venv

BIN = $(VENV)/bin
INSTALLED = $(VENV)/.installed
LADDER = tests/ladder/noxfile.py

# Tests and the demo share a machine with its user; the tokenizer's threads do not survive a fork.
export OMP_NUM_THREADS ?= 2
export TOKENIZERS_PARALLELISM = false
# Files of tests that run side by side, each on one core with up to 2 GB.
PYTEST_WORKERS ?= 2
# DeepSpeed's operators are compiled when a run first needs them, never here.
export DS_BUILD_OPS = 0
# Where `make bench` writes its figures and the report.
RESULTS ?= benchmarks/results/memory

.PHONY: install demo bench test test-ladder test-slow lint clean

install: $(INSTALLED)

# torch goes first, alone: where pip is set up to find a CPU build of it (PIP_EXTRA_INDEX_URL), nothing can then pull in
# another. setuptools is there for torch's compiler of extensions, which DeepSpeed's CPU offload uses.
$(INSTALLED): setup.cfg constraints.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --constraint constraints.txt setuptools torch
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: install
	$(BIN)/python launch/demo.py

# Which batch fits and how fast it goes, as far as a machine without a GPU can tell: predictions for GPUs, training side
# by side with the usual recipe, growth, predictions against torch.profiler; then $(RESULTS)/report.html and report.md.
# At most 15 minutes on two idle cores, and nothing is fetched. With a GPU, `python -m benchmarks.memory measure` first.
bench: install
	$(BIN)/python -m benchmarks.memory bench --results $(RESULTS)

lint: install
	$(BIN)/ruff check .
	$(BIN)/mypy

# The newest release of transformers here, the oldest in an environment of its own.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist loadfile -m "not slow and not alone"
	$(BIN)/python -m pytest -m alone
	$(BIN)/nox -f $(LADDER) -s "ladder(release='4.30.2')"

# Every release in docs/versions.md, and transformers' own tests; the first time it installs an environment for each (1 GB).
test-ladder: install
	$(BIN)/nox -f $(LADDER)

test-slow: install
	$(BIN)/python -m pytest -m slow

# Keeps $(VENV) and .nox, which take long to fetch, and runs/, which took longer to make.
clean:
	rm -rf build .pytest_cache .mypy_cache .ruff_cache *.egg-info
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
