# The project's commands; each needs only make and a Python 3.11 or newer.
# PYTHON=/path/to/python3 chooses the Python of a new virtual environment.

SHELL := /bin/sh
VENV := .venv
VENV_LATEST := .venv-latest
BIN := $(VENV)/bin
# Tests wait more than they compute, so two processes help on any machine; WORKERS=0 uses none beside pytest's own.
WORKERS := 2

.DEFAULT_GOAL := help
.PHONY: help run password test test-latest test-zones test-schema test-client bench bench-all loadtest bench-pages faults faults-long screenshots check format clean venv venv-dev venv-latest

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: venv ## start database, web and scheduler; Ctrl-C stops them (PORT=8000, DATABASE_URL=...)
	@DEBUG="$${DEBUG:-1}" exec $(BIN)/python manage.py runlocal

password: venv ## print the operator's user name and password again
	@DEBUG="$${DEBUG:-1}" exec $(BIN)/python manage.py operatorpassword

test: venv-dev ## run the tests (ARGS="-k word"; TEST_DATABASE_URL=... for a server of your own)
	@exec $(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup $(ARGS)

test-latest: venv-latest ## run the tests on Django 6.1, which needs Python 3.12 or newer
	@exec $(VENV_LATEST)/bin/python -m pytest -n $(WORKERS) --dist loadgroup $(ARGS)

test-zones: venv-dev ## the rules of time in every zone of the zone data, 2024 to 2030 (a quarter of an hour)
	@SCHEDULE_SWEEP=all exec $(BIN)/python -m pytest tests/rules/test_cron_zones.py $(ARGS)

faults: venv-dev ## break running nodes on purpose, in every way that docs/faults.md lists (a quarter of an hour)
	@FAULTS=quick exec $(BIN)/python -m pytest -n $(WORKERS) tests/faults $(ARGS)

faults-long: venv-dev ## the same for release candidates, and an hour of everything at once (a night)
	@FAULTS=long exec $(BIN)/python -m pytest -n $(WORKERS) tests/faults $(ARGS)

test-schema: venv-dev ## hold the API to its document for long: every phase of schemathesis (SCHEMA_EXAMPLES=100 SCHEMA_SEED=1)
	@SCHEMA_PHASES=$${SCHEMA_PHASES:-examples,coverage,fuzzing,stateful} SCHEMA_EXAMPLES=$${SCHEMA_EXAMPLES:-100} \
		exec $(BIN)/python -m pytest -n 0 -s tests/web/test_api_contract.py $(ARGS)

VENV_CLIENT := .venv-client

test-client: venv-dev ## a client that a public generator makes from the API's document creates, runs and watches a job
	@test -x $(VENV_CLIENT)/bin/openapi-python-client || { \
		$(BIN)/python -m venv $(VENV_CLIENT) && $(VENV_CLIENT)/bin/pip install -q "openapi-python-client>=0.26,<1"; }
	@CLIENT_VENV=$(CURDIR)/$(VENV_CLIENT) exec $(BIN)/python -m pytest -n 0 tests/web/test_api_client.py $(ARGS)

screenshots: venv-dev ## take the pictures of docs/screens.md anew, with an installed Chromium (ARGS="overview jobs")
	@exec $(BIN)/python scripts/screenshots.py $(ARGS)

# What `check --deploy` looks at: settings as in production. It connects to no database.
PRODUCTION := DEBUG=0 DATABASE_URL=postgresql://localhost/unused ALLOWED_HOSTS=example.org \
	SECRET_KEY=only-for-the-check-0123456789-abcdefghijklmnopqrstuvwxyz-ABCDEFGH \
	SECURE_HSTS_SECONDS=31536000

check: venv-dev ## format, lint, types, layers, migrations, Django's checks: what CI runs beside the tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python manage.py makemigrations --check --dry-run
	$(PRODUCTION) $(BIN)/python manage.py check --deploy --fail-level WARNING

bench: venv-dev ## measure speed and cost beside other schedulers and what PostgreSQL itself can do (ten minutes; ARGS="herd")
	@exec $(BIN)/python -m benchmarks --quick --rounds 1 --minutes 10 $(ARGS)

bench-all: venv-dev ## the same with every size and three rounds each (hours; ARGS="growth")
	@exec $(BIN)/python -m benchmarks --all $(ARGS)

loadtest: venv-dev ## real HTTP calls to gunicorn and one node, three minutes (ARGS="--seconds 10 --offered 500")
	@exec $(BIN)/python -m benchmarks.loadtest $(ARGS)

bench-pages: venv-dev ## measure the admin's pages at 2,000,000 executions (five minutes; ARGS="--directory DIR list")
	@exec $(BIN)/python -m benchmarks.admin_pages $(ARGS)

format: venv-dev ## format the code and repair what can be repaired
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove virtual environments and caches; the data in var/ stays
	rm -rf $(VENV) $(VENV_LATEST) $(VENV_CLIENT) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

venv:
	@python=$$(scripts/find-python 11 $(VENV)) && exec "$$python" scripts/make_venv.py $(VENV) requirements.txt

venv-dev:
	@python=$$(scripts/find-python 11 $(VENV)) && exec "$$python" scripts/make_venv.py $(VENV) requirements-dev.txt

venv-latest:
	@python=$$(scripts/find-python 12 $(VENV_LATEST)) && exec "$$python" scripts/make_venv.py $(VENV_LATEST) requirements-dev.txt
