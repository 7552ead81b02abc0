# Two commands do everything: `make demo` and `make test`. Each installs what it needs, once.
PYTHON ?= python3
RUN := .venv/bin/python -m
PYTEST := $(RUN) pytest -q --import-mode=importlib
CODE := worldloom components pipelines services cli
export PYTHONPATH := $(CURDIR)
# Tests and steps are many processes: without bytecode each would compile every module anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help env demo test test-unit test-cluster check format docs lock clean

help: ## list the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

env: ## install the locked environment into .venv, if it is not there
	@infra/environment/install.sh "$(PYTHON)"

demo: env ## the whole path once: captured worlds to streamed frames, into out/demo
	@$(RUN) cli.main demo

test: env ## unit, integration and end-to-end tests (under 10 minutes)
	@OMP_NUM_THREADS=1 $(PYTEST) tests --ignore=tests/e2e -n 2 --dist worksteal
	@$(PYTEST) tests/e2e

test-unit: env ## unit tests of less than half a second each (under 2 minutes)
	@OMP_NUM_THREADS=1 $(PYTEST) tests --ignore=tests/integration --ignore=tests/e2e \
	    --ignore=tests/helm/cluster -m "not slow" -n 2 --dist worksteal

test-cluster: env ## the chart in a real Kubernetes API server, built from Go modules the first time
	@infra/cluster/build.sh out/cluster
	@$(PYTEST) tests/helm/cluster

check: env ## formatting, lint, types, import contracts, spelling
	@$(RUN) ruff format --check $(CODE) tests
	@$(RUN) ruff check $(CODE) tests
	@$(RUN) mypy $(CODE)
	@.venv/bin/python .venv/bin/lint-imports
	@$(RUN) codespell_lib

format: env ## format and mend what the linter can mend
	@$(RUN) ruff format $(CODE) tests
	@$(RUN) ruff check --fix $(CODE) tests

docs: env ## make the chart's files, the pages, the mask and the README's figures anew
	@$(RUN) services.chart.files
	@$(RUN) cli.reference
	@$(RUN) cli.mask_picture
	@$(RUN) services.gateway.asyncapi
	@$(RUN) services.gateway.refusal
	@if [ -f docs/results/demo.json ]; then $(RUN) cli.figures; fi

LOCK = .boot/bin/python -m uv pip compile --quiet --universal --generate-hashes --no-header \
    --no-annotate --override requirements/overrides.txt
lock: env ## resolve pyproject.toml and the images' lists again into requirements/*.txt
	@$(LOCK) pyproject.toml --extra platform --extra dev --python-version 3.11 -o requirements/lock.txt
	@$(LOCK) pyproject.toml --extra platform --constraint requirements/lock.txt --python-version 3.12 \
	    -o requirements/steps.txt
	@for image in inference gateway mlflow; do $(LOCK) requirements/$$image.in \
	    --constraint requirements/lock.txt --python-version 3.12 -o requirements/$$image.txt; done

clean: ## remove what running made (not the environment)
	@rm -rf out _vizdoom _vizdoom.ini .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find $(CODE) tests -name __pycache__ -type d -prune -exec rm -rf {} +
