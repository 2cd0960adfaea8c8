# Two commands do everything: `make demo` and `make test`. Both work in a fresh clone.

PYTHON ?= python3
# `make TORCH_INDEX= ...` takes torch from pip's own index: on Linux that is the CUDA build.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
TORCH_VERSION := 2.13.0

BIN := .venv/bin
STAMP := .venv/.installed
PYTEST := $(BIN)/python -m pytest

.PHONY: demo test check unit lint types format validate lock sbom licences clean install

demo: install
	@$(BIN)/neurotriage demo

test: lint types
	@$(PYTEST) -n 2 --dist loadfile

check: lint types unit

unit: install
	@OMP_NUM_THREADS=1 $(PYTEST) -q -m unit -n 2

lint: install
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-cache > .venv/imports.log 2>&1 || { cat .venv/imports.log; exit 1; }

types: install
	@$(BIN)/mypy

format: install
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

# Every result object of every outcome against the validators that are installed.
validate: install
	@$(BIN)/python -W ignore -m bench.validate

install: $(STAMP)

# torch goes first, alone and exactly pinned: anything looser brings gigabytes of CUDA to a CPU host.
# An index that does not answer costs a few seconds and is passed over.
$(STAMP): pyproject.toml requirements/dev.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "neurotriage needs Python 3.11 or newer; call make PYTHON=python3.12, say"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { echo "python's venv module is missing (Debian, Ubuntu: apt install python3-venv)"; exit 1; }
	@echo "installing into .venv (a few minutes the first time)"
	@$(BIN)/python -c 'import torch, sys; sys.exit(torch.__version__.split("+")[0] != "$(TORCH_VERSION)")' 2>/dev/null \
	  || $(BIN)/python -m pip install -q --disable-pip-version-check --retries 0 $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) torch==$(TORCH_VERSION) 2>.venv/torch.log \
	  || $(BIN)/python -m pip install -q --disable-pip-version-check torch==$(TORCH_VERSION)
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --require-hashes -r requirements/dev.lock
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(STAMP)

lock:
	@for extra in embedded dev; do \
	  $(BIN)/uv pip compile pyproject.toml --extra $$extra --universal --python-version 3.11 --generate-hashes \
	    --override requirements/without-torch.txt --no-header --no-annotate -q -o requirements/$$extra.lock; done

# What an installation is made of (CycloneDX), and under which licences.
sbom: install
	@$(BIN)/python -m deploy.sbom build/sbom.cdx.json

licences: install
	@$(BIN)/python -m deploy.licences docs/third-party-licences.md

clean:
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache
