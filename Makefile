# Every target sets up what it needs by itself; `make` lists them.

BIN := .venv/bin
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
JAVA_MAJOR = $(shell java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p')
TESTS ?= tests
WORKERS ?= 2
CELL ?=
MINUTES ?= 30
SEED ?= 1
LINES ?=
ROUNDS ?= 5
PIN = $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --no-emit-index-url --no-emit-find-links

.DEFAULT_GOAL := help
.PHONY: help demo up test crash soak mutants bench check format lock clean local-stack coap-clients faketime peers

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "%-8s%s\n", $$1, $$2}' Makefile

demo: .venv/.ready local-stack  ## Watch a fleet's telemetry travel from three dialects into ClickHouse
	@$(BIN)/headrace demo

up: .venv/.ready local-stack  ## Run Kafka, ClickHouse and Headrace on this machine until Ctrl-C
	@$(BIN)/headrace up

test: .venv/.ready local-stack coap-clients  ## Run all tests, or some: make test TESTS=tests/unit
	$(BIN)/pytest --durations=10 --numprocesses=$(WORKERS) --dist=loadfile $(TESTS)

crash: .venv/.ready local-stack faketime  ## Kill, freeze and cut off everything at every moment: make crash CELL=sink-kill
	$(BIN)/python -m tests.crash $(CELL) --page docs/crash-suite.md

soak: .venv/.ready local-stack faketime  ## The same at random, under load: make soak MINUTES=30 SEED=1
	$(BIN)/python -m tests.crash.soak --minutes $(MINUTES) --seed $(SEED) --page docs/crash-suite.md

mutants: .venv/.ready local-stack  ## Break Headrace on purpose, and see the crash suite notice
	$(BIN)/python -m tests.crash.mutations --page docs/crash-suite.md

bench: .venv/.ready peers local-stack coap-clients  ## Measure each part beside its peers: make bench LINES="process sink" ROUNDS=5
	$(BIN)/python -m tests.bench $(LINES) --rounds $(ROUNDS) \
		--json .headrace/bench.json --plot .headrace/bench --page docs/performance.md

check: .venv/.ready  ## Judge style, types, imports, spelling and the files in deploy/
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/hadolint deploy/Dockerfile
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec deploy/compose.yaml

format: .venv/.ready  ## Format the code, and repair what ruff can repair
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

lock: .venv/.ready  ## Pin the newest versions of all dependencies, by hash
	@$(BIN)/uv --version >/dev/null 2>&1 || $(BIN)/python -m pip install --quiet uv
	$(PIN) --extra local --group dev --output-file requirements.lock pyproject.toml
	$(PIN) --constraint requirements.lock --output-file deploy/requirements.lock pyproject.toml
	$(PIN) --group peers --output-file tests/bench/peers.lock

clean:  ## Remove the environment, the local stack's data and every cache
	rm -rf .venv .headrace dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# What the targets above need; each is quick when it is there already.

NO_PYTHON = Headrace needs Python 3.11 or newer: install python3 and python3-venv (Debian, Ubuntu) or python@3.13 (Homebrew).
NO_VENV = $(PYTHON) cannot make virtual environments: install python3-venv (Debian, Ubuntu), or virtualenv with pip.
NO_JAVA = The local stack needs Java 17 or newer: install openjdk-17-jdk-headless (Debian, Ubuntu) or openjdk (Homebrew).
NO_MAVEN = The local stack fetches Kafka with Maven: install maven (Debian, Ubuntu, Homebrew).
NO_FAKETIME = The crash suite moves clocks with libfaketime: install libfaketime (Debian, Ubuntu).
NO_COAP = The tests need coap-client-notls and coap-client-openssl: install libcoap3-bin (Debian, Ubuntu) or libcoap (Homebrew).

.venv/.ready: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "$(NO_PYTHON)" >&2; exit 1; }
	@echo "Setting up .venv with $(PYTHON)"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv >/dev/null 2>&1 \
		|| { rm -rf .venv; $(PYTHON) -m virtualenv --quiet .venv 2>/dev/null; } || { echo "$(NO_VENV)" >&2; exit 1; }
	@$(BIN)/uv --version >/dev/null 2>&1 || $(BIN)/python -m pip install --quiet uv \
		|| echo "uv cannot be had; pip does the same, slower"
	@installer="$(BIN)/python -m pip"; $(BIN)/uv --version >/dev/null 2>&1 \
		&& installer="$(BIN)/uv pip" && export VIRTUAL_ENV="$(CURDIR)/.venv"; \
	echo "Installing the packages of requirements.lock with $${installer##*/}" \
		&& $$installer install --quiet --require-hashes -r requirements.lock \
		&& $$installer install --quiet --no-deps --no-build-isolation -e .
	@# uv leaves that to the first start, and none does it where PYTHONDONTWRITEBYTECODE is set: half of the time of each start.
	@# Of msgraph_beta, 30,000 files, few are ever read.
	@$(BIN)/python -m compileall -q -j 0 -x msgraph_beta .venv/lib || echo "Not all packages are compiled; processes start slower"
	@touch $@

peers: .venv/.ready
	@$(MAKE) --silent .venv/peers/.ready || echo "quixstreams and bytewax cannot be had; the bench goes without them"

.venv/peers/.ready: tests/bench/peers.lock
	@echo "Setting up what the bench is held against in .venv/peers"
	@rm -rf .venv/peers; if $(BIN)/uv --version >/dev/null 2>&1; then \
		$(BIN)/uv venv --quiet --python $(BIN)/python .venv/peers \
		&& VIRTUAL_ENV="$(CURDIR)/.venv/peers" $(BIN)/uv pip install --quiet --require-hashes -r $<; \
	else \
		$(BIN)/python -m venv .venv/peers && .venv/peers/bin/python -m pip install --quiet --require-hashes -r $<; \
	fi
	@touch $@

local-stack:
	@test "0$(JAVA_MAJOR)" -ge 17 || { echo "$(NO_JAVA)" >&2; exit 1; }
	@command -v mvn >/dev/null || { echo "$(NO_MAVEN)" >&2; exit 1; }

coap-clients:
	@command -v coap-client-notls >/dev/null && command -v coap-client-openssl >/dev/null && exit; \
	if command -v apt-get >/dev/null && test "$$(id -u)" = 0; then \
		echo "Installing libcoap3-bin, whose clients the tests use"; \
		apt-get update -qq && apt-get install -y -qq --no-install-recommends libcoap3-bin >/dev/null; \
	else echo "$(NO_COAP)" >&2; exit 1; fi

faketime:
	@test -n "$$(ls /usr/lib/*/faketime/libfaketimeMT.so.1 2>/dev/null)" && exit; \
	if command -v apt-get >/dev/null && test "$$(id -u)" = 0; then \
		echo "Installing libfaketime, which moves clocks in the crash suite"; \
		apt-get update -qq && apt-get install -y -qq --no-install-recommends libfaketime >/dev/null; \
	else echo "$(NO_FAKETIME)" >&2; exit 1; fi
