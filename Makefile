# Two commands do everything, and set up what they need in .venv first:
#
#   make demo    profile the bundled model, search its schedule, run it, write a report
#   make test    lint, types, layers, build the wheel, test the installed wheel, build the documentation, run the notebooks
#
# The rest are the steps of `make test`, and helpers: `make help` lists them.

# The first Python that is new enough; choose another with `make PYTHON=...`.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)

VENV := .venv
BIN := $(VENV)/bin
WHEEL_VENV := .venv-wheel
PIP := $(BIN)/python -m pip --disable-pip-version-check
SOURCES := $(shell find schedules probe search reports/deepcadence -type f -not -path '*__pycache__*')

# Arguments for the two commands: make demo DEMO="--fresh", make test PYTEST="-k schedule -x"
DEMO ?=
PYTEST ?=
WORKERS ?= logical
AUDIT ?=
MATRIX ?=
MUTATION ?=

.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test lint types layers wheel tests docs check-notebooks notebooks format constraints clean
.PHONY: audit coverage mutation test-matrix

help:
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 24

demo: $(VENV)/.demo-ready ## the main job on the bundled model, with a report
	$(BIN)/deepcadence demo $(DEMO)

test: lint types layers wheel tests docs check-notebooks ## everything from lint to check-notebooks, in this order

lint: $(VENV)/.test-ready ## style and likely bugs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.test-ready ## static types, strict
	$(BIN)/mypy

layers: $(VENV)/.test-ready ## imports run one way
	$(BIN)/lint-imports

wheel: $(WHEEL_VENV)/.ready ## build the wheel and install it beside .venv

# The wheel, not the source tree, is what is tested: no source root on the path.
tests: $(VENV)/.test-ready $(WHEEL_VENV)/.ready ## the tests, against the installed wheel
	DEEPCADENCE_TEST_WHEEL=1 OMP_NUM_THREADS=1 $(WHEEL_VENV)/bin/python -m pytest \
		--override-ini pythonpath=. --numprocesses $(WORKERS) --maxprocesses 8 $(PYTEST)

# Strict: a link, an anchor or a name that does not exist is an error. Nothing is fetched. Silent if all is well, so that
# the last line of `make test` is that of the tests; not by --quiet, with which mkdocs counts no warnings.
docs: $(VENV)/.test-ready ## the documentation, in build/site
	@said=$$(NO_MKDOCS_2_WARNING=1 OMP_NUM_THREADS=1 $(BIN)/mkdocs build --strict 2>&1) || { echo "$$said" >&2; exit 1; }

# Executed with the wheel, in temporary folders. Silent if all is well, as above.
check-notebooks: $(VENV)/.test-ready $(WHEEL_VENV)/.ready ## the notebooks, from top to bottom; minutes
	@$(WHEEL_VENV)/bin/python notebooks/execute.py --check

# Once the bundled model or a figure has changed.
notebooks: $(VENV)/.test-ready ## execute the notebooks, and keep their outputs
	$(BIN)/python notebooks/execute.py

audit: $(VENV)/.test-ready ## known vulnerabilities, licences and SHA-256 of what is pinned
	$(BIN)/python -m campaigns.audit $(AUDIT)

coverage: $(VENV)/.test-ready ## lines and branches that the tests reach, in build/coverage; fails below 95%
	$(BIN)/python -m campaigns.coverage $(COVERAGE)

mutation: $(VENV)/.test-ready ## do the tests notice changes in schedules/? a sample of mutants; an hour
	$(BIN)/python -m campaigns.mutation $(MUTATION)

test-matrix: $(VENV)/.test-ready ## the tests with the oldest and the newest versions, on Python 3.11 to 3.13; an hour and more
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m campaigns.matrix $(MATRIX)

format: $(VENV)/.test-ready ## rewrite the code in the one style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# ---- set-up, of which pip's reports say what it took: `make audit` compares it with constraints.txt

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "deepcadence needs Python 3.11 or newer: none found on PATH; try make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.tools-ready: $(VENV)/bin/python constraints.txt
	$(PIP) install --quiet --constraint constraints.txt --report $@.json pip hatchling
	@touch $@

$(VENV)/.demo-ready: $(VENV)/.tools-ready pyproject.toml
	@echo "installing deepcadence and what it needs in $(VENV); the first time this takes minutes"
	$(PIP) install --quiet --constraint constraints.txt --report $@.json --no-build-isolation --editable '.[all]'
	@touch $@

$(VENV)/.test-ready: $(VENV)/.demo-ready
	$(PIP) install --quiet --constraint constraints.txt --report $@.json --group dev --group docs
	@touch $@

# The wheel's environment sees the packages of .venv through a .pth file. The .pth files found there do not
# count, so the editable installation stays out.
$(WHEEL_VENV)/.ready: $(VENV)/.test-ready $(SOURCES) LICENSE README.md
	rm -rf dist $(WHEEL_VENV)
	$(BIN)/python -m build --wheel --no-isolation --outdir dist
	$(BIN)/python -m venv --without-pip $(WHEEL_VENV)
	@$(WHEEL_VENV)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > $(WHEEL_VENV)/.site
	@$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > "$$(cat $(WHEEL_VENV)/.site)/packages.pth"
	$(PIP) --python $(WHEEL_VENV)/bin/python install --quiet --no-deps --force-reinstall dist/*.whl
	@touch $@

constraints: ## resolve anew, and pin what comes out in constraints.txt
	rm -rf build/resolve
	$(PYTHON) -m venv build/resolve
	build/resolve/bin/python -m pip install --quiet --report build/resolve/1.json --upgrade pip hatchling torch==2.13.0
	build/resolve/bin/python -m pip install --quiet --report build/resolve/2.json --no-build-isolation \
		--editable '.[all]' --group dev --group docs
	{ sed -n '/^#/p' constraints.txt; build/resolve/bin/python -m pip list --format freeze --exclude-editable \
		| sed 's/+.*//' | sort -f; } > build/constraints.txt
	mv build/constraints.txt constraints.txt
	build/resolve/bin/python -m campaigns.hashes --record build/resolve/*.json
	rm -rf build/resolve

clean: ## remove what make made
	rm -rf $(VENV) $(WHEEL_VENV) build dist
