# What a person needs: `make up` and `make test`. Each target sets up what it needs; Python >= 3.11 and make are enough.
SHELL := /bin/bash
.DEFAULT_GOAL := help
DATA ?= ../shared/data
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3.12 python3.11 python3.13 python3.14 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
WEB_BUILT := src/nexus/entry/web/index.html
WEB_SOURCES := $(shell find web -type f -not -path '*/node_modules/*' 2>/dev/null)
TEST_WORKERS ?= 2
# A test that hangs and lives through its own limit, as its failure fell to some other task: its worker is ended and
# replaced, and the test named.
HUNG := -o faulthandler_timeout=780 -o faulthandler_exit_on_timeout=true
# Programs that may keep what they compiled start in half the time.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help up demo test accept exchanges bench lint fmt build web setup clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/.installed: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	@# The sources are used where they are; the wheel is for those who install.
	@$(BIN)/python -c 'import pathlib, sysconfig; pathlib.Path(sysconfig.get_path("purelib"), "nexus.pth").write_text("\n".join(str(pathlib.Path(part).resolve()) for part in ("src", "sdk/python/src")))'
	@printf '#!%s\nfrom nexus.entry.cli import main\nmain()\n' "$(abspath $(BIN)/python)" > $(BIN)/nexus && chmod +x $(BIN)/nexus
	@touch $@

$(WEB_BUILT): $(VENV)/.installed $(WEB_SOURCES)
	$(BIN)/python web/build_hook.py
	@touch $@

$(VENV)/.clients: tests/clients.lock $(VENV)/.installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement tests/clients.lock \
		&& touch $@ || echo "further providers' clients could not be installed: their tests are skipped"

$(VENV)/.node-clients: tests/node_clients/package-lock.json $(VENV)/.installed
	@$(BIN)/python tests/node_clients/install.py && touch $@ || echo "clients for Node could not be installed: their tests are skipped"

setup: $(VENV)/.installed ## install what the product and its tests need, into .venv
web: $(WEB_BUILT) ## build the web application

up: $(VENV)/.installed $(WEB_BUILT) ## start everything; prints address and, the first time, sign-in and access key
	@exec $(BIN)/nexus up

demo: $(VENV)/.installed $(WEB_BUILT) ## start everything with two organizations and a month of believable traffic, which then goes on
	@exec $(BIN)/nexus up --demo

test: $(VENV)/.installed $(VENV)/.clients $(VENV)/.node-clients $(WEB_BUILT) ## run the tests; says what it skipped and why
	$(BIN)/python -m pytest tests sdk/python/tests --ignore tests/accept -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder $(HUNG) -q
	$(BIN)/python web/build_hook.py test

accept: $(VENV)/.installed $(WEB_BUILT) ## run the acceptance suite on a folder of data, and properties on many examples: make accept DATA=folder
	NEXUS_ACCEPT_DATA="$(abspath $(DATA))" $(BIN)/python -m pytest tests/accept -q -rP
	HYPOTHESIS_PROFILE=thorough $(BIN)/python -m pytest tests -m hypothesis --timeout 3600 --ignore tests/accept -n $(TEST_WORKERS) -q

exchanges: $(VENV)/.installed ## run recorded exchanges through the gateway and write docs/reference/recorded-exchanges.md anew: make exchanges DATA=folder
	NEXUS_ACCEPT_DATA="$(abspath $(DATA))" NEXUS_ACCEPT_REPORT=docs/reference/recorded-exchanges.md \
		$(BIN)/python -m pytest tests/accept/test_llm_wire.py -q -rP

bench: $(VENV)/.installed ## measure ingest, queries, the gateway beside a bare proxy and LiteLLM, streams, decisions; writes bench/RESULTS.md
	$(BIN)/python -m bench

lint: $(VENV)/.installed ## formatting, lints, types, import rules
	$(BIN)/ruff format --check src tests bench sdk
	$(BIN)/ruff check src tests bench sdk
	$(BIN)/mypy
	cd sdk/python && ../../$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python web/build_hook.py lint

fmt: $(VENV)/.installed ## format and fix what can be fixed
	$(BIN)/ruff format src tests bench sdk
	$(BIN)/ruff check --fix src tests bench sdk

build: $(VENV)/.installed ## wheels and source distributions, the web application within, and the Python client's
	rm -rf dist
	$(BIN)/python -m build --outdir dist
	$(BIN)/python -m build --outdir dist/client sdk/python

clean: ## remove what was built
	rm -rf dist build src/nexus/entry/web web/node_modules $(VENV)/.installed
