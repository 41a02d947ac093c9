# Everything a developer runs. Paths are relative on purpose: make cannot cope with spaces in its own.
.DEFAULT_GOAL := help
.PHONY: help demo test check docs format bench crash fuzz supply-chain lock

# The daemon is started hundreds of times by tests: it need not be compiled each time.
unexport PYTHONDONTWRITEBYTECODE

PYTHON_IN_VENV := .venv/bin/python
STAMP := .venv/installed
PYTEST := $(PYTHON_IN_VENV) -m pytest
# More than there are cores: most tests wait for a daemon most of the time.
TEST_PROCESSES ?= 4
# More pytest arguments: make test ARGS='-k duplicates'
ARGS ?=

# A moved or copied checkout has a .venv that points elsewhere.
$(shell test "$$(cat $(STAMP) 2>/dev/null)" = "$$(pwd -P)" || rm -f $(STAMP))

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

demo: $(STAMP)  ## install into .venv, run the samples, show verdicts and packages
	@.venv/bin/conductor-loop demo

test: $(STAMP)  ## run every test
	@.ci/tools strace patch bwrap systemd-analyze curl jq openssl prometheus chromium
	@echo "==> tests"
	@$(PYTEST) -n $(TEST_PROCESSES) $(ARGS)

check: $(STAMP)  ## format, lint, types, layers, links of the documentation; changes nothing
	@echo "==> format"
	@$(PYTHON_IN_VENV) -m ruff format --check .
	@echo "==> lint"
	@$(PYTHON_IN_VENV) -m ruff check .
	@echo "==> types"
	@$(PYTHON_IN_VENV) -m mypy
	@echo "==> layers"
	@.venv/bin/lint-imports
	@$(MAKE) --no-print-directory docs

docs: $(STAMP)  ## build the documentation into site/; a dead link or a page in no menu is an error
	@echo "==> docs"
	@NO_MKDOCS_2_WARNING=1 $(PYTHON_IN_VENV) -m mkdocs build --strict

format: $(STAMP)  ## rewrite the source in the one format
	@$(PYTHON_IN_VENV) -m ruff check --fix --select I .
	@$(PYTHON_IN_VENV) -m ruff format .

bench: $(STAMP)  ## measure speed and memory (about 10 minutes; ARGS=--quick for one)
	@$(PYTHON_IN_VENV) -m bench $(ARGS)

crash: $(STAMP)  ## kill the daemon at every system call (takes long), write docs/reliability.md
	@.ci/tools strace
	@echo "==> 2,000 walks of the model, a flood of 100,000 files, every call of a distributor"
	@THOROUGH=1 CI=true $(PYTEST) -q --timeout=7200 tests/system/test_model.py tests/abuse/test_floods.py tests/crash/test_distribute.py
	@echo "==> the sweep and the soak"
	@$(PYTHON_IN_VENV) -m tests.crash --write-docs $(ARGS)

fuzz: $(STAMP)  ## fuzz the reading of intents for a minute (ARGS=-max_total_time=600)
	@.ci/fuzz $(ARGS)

supply-chain: $(STAMP)  ## build the wheel twice and compare, bill of materials, known vulnerabilities
	@.ci/supply-chain

lock: $(STAMP)  ## resolve the requirements*.lock anew, with releases at least a week old
	@.ci/lock

$(STAMP): pyproject.toml requirements-dev.lock .ci/install
	@.ci/install
	@pwd -P > $(STAMP)
