# On a new machine with Python 3.11 or later, make demo and make test work without any other setup.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
SPARK := .venv/.spark
TESTS := $(BIN)/python -m pytest -q -n logical --maxprocesses 4 --dist worksteal

ON_DUCKDB := outputs/engines/duckdb.parquet
ON_SPARK := outputs/engines/spark.parquet

# Otherwise each process compiles all modules again.
unexport PYTHONDONTWRITEBYTECODE

TRIES ?= 10

.PHONY: demo demo-spark test coverage test-fast test-spark lint types bench chaos sbom audit picture ui clean
.DEFAULT_GOAL := demo

$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'Kindred needs Python 3.11 or later. Choose one with: make PYTHON=python3.12'; exit 2; }
	@echo 'Creating the environment in .venv (once; takes a minute or two) ...'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo/shop/shop.json: $(READY)
	@$(BIN)/kindred simulate --out demo/shop --customers 20000

demo: demo/shop/shop.json     ## simulate a shop, train, and score the customers one month later
	@$(BIN)/kindred train
	@$(BIN)/kindred score --set as_of=2025-12-01T00:00:00Z

demo-spark: $(SPARK) demo      ## score the demo's shop on DuckDB and on local Spark, and compare; needs Java 17 or later
	@rm -f $(ON_DUCKDB) $(ON_SPARK)
	@$(BIN)/kindred score --set as_of=2025-12-01T00:00:00Z --out $(ON_DUCKDB) >/dev/null
	@$(BIN)/kindred score --set as_of=2025-12-01T00:00:00Z --set engine.kind=spark --out $(ON_SPARK)
	@$(BIN)/python tests/benchmarks/compare_scores.py $(ON_DUCKDB) $(ON_SPARK)

test: $(READY)                ## run all tests but those of Spark
	@$(TESTS) -m 'not spark'

coverage: $(READY)            ## run all tests; print the coverage in total and of files under 85%; takes twice as long
	@$(TESTS) -m 'not spark' --cov --cov-report= --cov-fail-under=0
	@$(BIN)/coverage report --sort=cover --fail-under=0 | awk 'NR <= 2 || /^TOTAL/ || $$NF + 0 < 85'
	@$(BIN)/coverage report --format=total >/dev/null || \
	  { echo 'Coverage is below fail_under of pyproject.toml. Test what the change added.'; exit 1; }

test-fast: $(READY)           ## run the tests that need neither a simulated shop nor more than three seconds
	@$(TESTS) -m 'not (slow or end_to_end or real or spark)'

$(SPARK): requirements-spark.txt $(READY)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-spark.txt
	@touch $@

test-spark: $(SPARK)          ## run the tests of Spark in one process; needs Java 17 or later
	@$(BIN)/python -m pytest -q -m spark

lint: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/codespell features models pipeline tests README.md CHANGELOG.md DECISIONS.md .github
	@$(BIN)/lint-imports

types: $(READY)
	@$(BIN)/mypy

bench: demo/shop/shop.json              ## measure the tables of tests/benchmarks/RESULTS.md; takes an hour or more
	@$(BIN)/python tests/benchmarks/run.py
	@$(BIN)/python -W ignore tests/benchmarks/truth.py demo/shop

chaos: $(READY)               ## kill, terminate, lock out and starve every command, TRIES of each kind; 2,000 hostile inputs; takes hours
	@PYTHONPATH=. $(BIN)/python -W ignore tests/chaos/campaign.py $(TRIES)

sbom: $(READY)                ## write sbom.json, the bill of materials in CycloneDX: each pin with its hashes
	@$(BIN)/cyclonedx-py requirements requirements.txt --pyproject pyproject.toml --output-reproducible \
	  --output-format JSON --output-file sbom.json

audit: $(READY)               ## look up each pin among the advisories on PyPI; exit code 2 if these cannot be had
	@$(BIN)/python .github/audit.py requirements.txt

picture: $(READY)             ## the README's picture of the report; needs Chromium and the demo's report
	@$(BIN)/python .github/picture.py outputs/report.html .github/report.png

ui: $(READY)                  ## start MLflow on http://127.0.0.1:5000
	@echo 'Open http://127.0.0.1:5000. At the top left, choose "Model training" (once), then Experiments, kindred.'
	@MLFLOW_DISABLE_TELEMETRY=true $(BIN)/mlflow ui --host 127.0.0.1 --port 5000 --backend-store-uri sqlite:///mlflow.db

clean:                        ## delete what runs created; keep the environment and the MLflow store
	rm -rf demo outputs bench .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.*
