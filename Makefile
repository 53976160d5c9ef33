# What a person types. Every target makes the virtual environment itself where it is missing or out of date.
# SKILLDB_OWNER_DSN and SKILLDB_DSN point the database targets at another server than the embedded one.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
BENCH_READY := $(VENV)/.bench-ready
SKILLDB := $(BIN)/skilldb
# Embedded PostgreSQL to use for a new database, and for the tests: 18 or 16.
PG ?= 18
export SKILLDB_PG_VERSION := $(PG)

.DEFAULT_GOAL := help
.PHONY: help install demo db-start db-stop migrate rollback status new-migration seed import drift doctor psql explain test test-quick test-lowest test-pgbouncer test-citus schema torture bench bench-quick audit lint types check clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "skilldb needs Python 3.11 or newer: make PYTHON=...")'
	@$(BIN)/python -m pip --version > /dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@echo "Installing into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

$(BENCH_READY): $(READY)
	@echo "Installing what the benchmarks compare with ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@touch $@

install: $(READY) ## Make the virtual environment and install into it

demo: $(READY) ## Start, migrate and seed a database, and show what is in it
	@$(SKILLDB) demo

db-start: $(READY) ## Start the embedded PostgreSQL in .skilldb/ and print its addresses
	@$(SKILLDB) db-start

db-stop: $(READY) ## Stop it; its data stays
	@$(SKILLDB) db-stop

migrate: $(READY) ## Apply the pending migrations (ARGS=--dry-run to see them first)
	@$(SKILLDB) migrate $(ARGS)

rollback: $(READY) ## Undo the last migration, after asking (ARGS="--all --yes")
	@$(SKILLDB) rollback $(ARGS)

status: $(READY) ## Show each migration as applied, pending or edited
	@$(SKILLDB) status

new-migration: $(READY) ## Write the files of a new migration (NAME=create_x or add_x_to_y, TABLE=x)
	@test -n "$(NAME)" || { echo "What is it called? make new-migration NAME=add_x_to_skills" >&2; exit 2; }
	@$(SKILLDB) new-migration "$(NAME)" $(if $(TABLE),--table "$(TABLE)")

seed: $(READY) ## Write the example data, once
	@$(SKILLDB) seed

import: $(READY) ## Import the skills of a folder (SKILLS=DIR TENANT=ID ARGS=--dry-run)
	@test -n "$(SKILLS)" || { echo "Which folder? make import SKILLS=DIR" >&2; exit 2; }
	@$(SKILLDB) import "$(SKILLS)" $(if $(TENANT),--tenant "$(TENANT)") $(ARGS)

drift: $(READY) ## Compare the counters with the rows they count (ARGS=--repair to repair them)
	@$(SKILLDB) check $(ARGS)

doctor: $(READY) ## Examine the database, and say what to do (ARGS="--skip-drift --json")
	@$(SKILLDB) doctor $(ARGS)

psql: $(READY) ## Open psql (TENANT=ID to see an organisation's rows)
	@$(SKILLDB) psql $(if $(TENANT),--tenant "$(TENANT)")

explain: $(READY) ## Show how PostgreSQL runs a query of sql/ (Q=views.get_whats_new_for_user TENANT=ID ARGS=--generic)
	@test -n "$(Q)" || { echo "Which query? make explain Q=views.get_whats_new_for_user" >&2; exit 2; }
	@$(SKILLDB) explain "$(Q)" $(if $(TENANT),--tenant "$(TENANT)") $(ARGS)

test: $(READY) ## Run the tests on an embedded PostgreSQL (PG=16 for that version, ARGS for pytest)
	@$(BIN)/pytest -n 4 --dist loadgroup $(ARGS)

test-quick: $(READY) ## Run those of pure, core and repositories, on one API and without the long ones
	@$(BIN)/pytest -n 4 --dist loadgroup --one-api -m "not torture" tests/pure tests/core tests/repositories $(ARGS)

schema: $(READY) ## Write docs/schema.sql, docs/schema.md and sql/admin/definitions.txt from the migrated database
	@SKILLDB_PG_VERSION=18 $(BIN)/pytest tests/admin/test_schema.py --write-docs

test-lowest: $(READY) ## Run the tests with the lowest versions of the dependencies that are declared
	@grep -oE '"[A-Za-z-]+(\[[a-z]+\])?>=[0-9.]+,<' pyproject.toml | sed -E 's/"|\[.*\]|,<//g; s/>=/==/' > $(VENV)/lowest.txt
	@$(PYTHON) -m venv --clear $(VENV)/lowest
	@$(VENV)/lowest/bin/pip install --quiet --constraint $(VENV)/lowest.txt --editable '.[dev]'
	@$(VENV)/lowest/bin/pytest -n 2 --dist loadgroup $(ARGS)

test-pgbouncer: $(READY) ## Run them behind pgbouncer in transaction mode, which it installs where there is none (Debian)
	@tests/support/pgbouncer.sh $(ARGS)

test-citus: $(READY) ## Run those that need a Citus cluster (SKILLDB_TEST_CITUS_DSN: a superuser's address of its coordinator)
	@test -n "$(SKILLDB_TEST_CITUS_DSN)" || { echo "Which cluster? Set SKILLDB_TEST_CITUS_DSN to a superuser's address of a coordinator with at least two workers" >&2; exit 2; }
	@$(BIN)/pytest tests/citus $(ARGS)

torture: $(READY) ## Run the long form of the tests of faults and attacks, and write docs/reliability.md
	@rm -f .torture.jsonl
	@SKILLDB_TORTURE="$(CURDIR)/.torture.jsonl" $(BIN)/pytest -n 2 --dist loadgroup -m torture --timeout 3600 $(ARGS)
	@SKILLDB_TORTURE="$(CURDIR)/.torture.jsonl" $(BIN)/python -m tests.support.reliability

bench: $(BENCH_READY) ## Measure it beside its peers, in half an hour, and write docs/performance.md
	@$(BIN)/python -m benchmarks docs

bench-quick: $(BENCH_READY) ## The same in two minutes on less data, into .bench/
	@$(BIN)/python -m benchmarks --quick .bench

audit: $(READY) ## Check that the installed packages fit together; known flaws are looked up where pip-audit is installed
	@$(BIN)/python -m pip --disable-pip-version-check check
	@if [ -x $(BIN)/pip-audit ]; then $(BIN)/pip-audit; else echo "pip-audit is not installed: no flaws looked up."; fi

lint: $(READY) ## Check Python and SQL with ruff, sqlfluff and squawk
	@$(BIN)/python .ci/generate_database.py --check
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/sqlfluff lint sql migrations
	@$(BIN)/squawk migrations/*.sql

types: $(READY) ## Check types with mypy --strict
	@$(BIN)/mypy

check: lint types test ## All of lint, types and test

clean: ## Stop the embedded PostgreSQL and remove what can be made again; .skilldb/ stays
	@if ! test -e .skilldb; then :; \
	elif $(BIN)/python -c 'import skilldb.cli' > /dev/null 2>&1; then $(BIN)/python -m skilldb.cli db-stop; \
	else echo "$(VENV) cannot run skilldb. If the embedded PostgreSQL still runs, stop it: make db-stop"; fi
	rm -rf $(VENV) .bench .mypy_cache .pytest_cache .ruff_cache dist
	find . -name __pycache__ -prune -exec rm -rf {} +
