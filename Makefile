# Every command sets up what it needs, can be run again at any time, and runs from a fresh clone.
# PYTHON=/path/to/python chooses the interpreter; else it is the newest supported one that works.

SHELL = /bin/sh
PORT = 8000
SERVE = yes
REDIS = no
PYTEST_ARGUMENTS ?=
export PYTHON PORT

python = .venv/bin/python

.PHONY: help demo demo-site test test-world lint docs bench consistency clean

help:
	@echo "make demo    set up the demo site with real data, measure it, serve it on 127.0.0.1:$(PORT)"
	@echo "             (SERVE=no: end after the measurement; PORT=8001: another port;"
	@echo "              REDIS=yes: with a Redis of its own between memory and table)"
	@echo "make test    get PostgreSQL, MariaDB, Redis, memcached and Chromium, and run the whole suite"
	@echo "             (PYTEST_ARGUMENTS='-k incr': a part of it)"
	@echo "make test-world   test new projects with other packages, as their authors would"
	@echo "make lint    check style, types and the imports between packages"
	@echo "make docs    make a site of the documentation; each warning and broken link is an error"
	@echo "make bench   measure the cache against its peers, side by side"
	@echo "             (BENCH_ARGUMENTS=--quick: in a minute)"
	@echo "make consistency   look for stale hits at length, while everything is disturbed"
	@echo "             (CONSISTENCY_ARGUMENTS='--seconds 10': in shorter runs;"
	@echo "              PROGRAMS_ARGUMENTS='--seed 7 --comparisons 1': one program again)"
	@echo "make clean   remove what these commands have made in this folder"
	@echo "PYTHON=/path/to/python chooses the interpreter; else the newest that works is taken."

demo:
ifneq ($(SERVE),no)
	@.ci/check-port
endif
ifeq ($(REDIS),no)
	@.ci/make-env demo
	@unset TESTPROJECT_REDIS; $(MAKE) --no-print-directory demo-site
else
	@.ci/get-redis
	@.ci/make-env demo+redis
	@$(python) .ci/with_redis.py $(MAKE) --no-print-directory demo-site
endif

# What is the same with a Redis, which ends when this has ended, and without.
demo-site:
	@echo "Migrating ..."
	@$(python) manage.py migrate --verbosity 0
	@$(python) manage.py migrate cachelayers --verbosity 0 --database cache
	@$(python) manage.py collectstatic --verbosity 0 --no-input
	@$(python) manage.py warm_cache --static --verbosity 0
	@$(python) manage.py load_airports
	@$(python) manage.py load_pages
	@$(python) manage.py create_demo_user
	@$(python) manage.py warm_cache
	@$(python) manage.py measure_pages
	@$(python) manage.py measure_edits
ifneq ($(SERVE),no)
	@.ci/serve-demo
endif

test:
	@.ci/get-servers browser
	@.ci/make-env test
	@$(python) -m pytest -n auto $(PYTEST_ARGUMENTS)

test-world:
	@.ci/get-servers dump
	@.ci/make-env world .ci/venvs/world
	@.ci/venvs/world/bin/python -m pytest -c world/pytest.ini -n auto world $(PYTEST_ARGUMENTS)

lint:
	@.ci/make-env test
	@.ci/make-env lint
	@$(python) -m ruff check .
	@$(python) -m ruff format --check .
	@$(python) -m mypy
	@.venv/bin/lint-imports

# Reads every page each time: pages that have not changed would not warn again.
docs:
	@.ci/make-env docs .ci/venvs/docs
	@.ci/venvs/docs/bin/python -m sphinx --quiet --fail-on-warning --keep-going --fresh-env \
		--conf-dir docs --doctree-dir var/docs/doctrees . var/docs/html
	@echo "The documentation is in var/docs/html/index.html."

bench:
	@.ci/get-servers
	@.ci/make-env test
	@$(python) -m benchmarks $(BENCH_ARGUMENTS)
	@$(python) -m benchmarks.eviction
	@$(python) -m benchmarks.static_urls
	@$(python) -m benchmarks.fragments
	@$(python) -m benchmarks.outage
	@$(python) -m benchmarks.counting
	@$(python) -m benchmarks.freshness $(FRESHNESS_ARGUMENTS)
	@$(python) -m benchmarks.hit_rate $(HIT_RATE_ARGUMENTS)
	@$(python) -m benchmarks.warming
	@$(python) -m benchmarks.http

consistency:
	@.ci/get-servers
	@.ci/make-env test
	@$(python) -m tests.consistency $(CONSISTENCY_ARGUMENTS)
	@$(python) -m tests.coherence $(COHERENCE_ARGUMENTS)
	@$(python) -m tests.programs $(PROGRAMS_ARGUMENTS)

clean:
	rm -rf .venv .ci/venvs var build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
