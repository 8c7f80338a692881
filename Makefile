# make demo and make test each work as the first command on a fresh machine with Python 3.11+.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test lint types bench ui clean
.DEFAULT_GOAL := demo

$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'Kindred needs Python 3.11 or later; name one with: make PYTHON=python3.12'; exit 2; }
	@echo 'Making the environment in .venv (a minute or two, once) ...'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo/shop/shop.json: $(READY)
	@$(BIN)/kindred simulate --out demo/shop --customers 20000

demo: demo/shop/shop.json     ## simulate a shop, train, score the customers of a month later
	@$(BIN)/kindred train
	@$(BIN)/kindred score --set as_of=2025-12-01T00:00:00Z

test: $(READY)                ## everything that proves it
	@$(BIN)/python -m pytest -q -n logical --maxprocesses 4 --dist worksteal

lint: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/codespell features models pipeline tests README.md CHANGELOG.md DECISIONS.md
	@$(BIN)/lint-imports

types: $(READY)
	@$(BIN)/mypy

bench: demo/shop/shop.json              ## the tables of tests/benchmarks/RESULTS.md; an hour or more
	@$(BIN)/python tests/benchmarks/run.py
	@$(BIN)/python -W ignore tests/benchmarks/truth.py demo/shop

ui: $(READY)                  ## MLflow on http://127.0.0.1:5000
	@echo 'Choose "Model training" at the top left of http://127.0.0.1:5000, once; then Experiments, kindred.'
	@MLFLOW_DISABLE_TELEMETRY=true $(BIN)/mlflow ui --host 127.0.0.1 --port 5000 --backend-store-uri sqlite:///mlflow.db

clean:                        ## what runs made; the environment and the MLflow store stay
	rm -rf demo outputs bench .pytest_cache .mypy_cache .ruff_cache .hypothesis
