# `make` alone lists the commands. Everything is installed below this folder: .venv (the project), .tools (uv, SAM, MiniStack).
.DEFAULT_GOAL := help
.PHONY: help install run web test bench bench-quick check format schema build invoke endpoints web-deploy lock clean
SHELL := /bin/bash

PYTHON ?= python3
uv := .tools/uv/bin/uv
bin := .venv/bin
export PATH := $(CURDIR)/.tools/sam/bin:$(CURDIR)/.venv/bin:$(PATH)
export SAM_CLI_TELEMETRY := 0
export UV_NO_PROGRESS := 1
# The environment that uv made has no pip; the layer's Makefile is told of one that is there.
export LAYER_PIP := $(CURDIR)/.tools/uv/bin/python -m pip
ARCHITECTURE ?= arm64

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

install: .venv/installed .tools/sam/installed .tools/ministack/installed ## install what the commands need, into this folder

run: install $(if $(shell command -v node),web) ## start the local stack; Ctrl-C ends it. ARGS="--port 8080 …" (make run ARGS=--help)
	@$(bin)/python -m local $(ARGS)

web: clients/web/dist/built ## build the web client

test: install tests/local/amplify/node_modules/installed web .tools/chromium ## run every test that needs no AWS account and no Docker. ARGS="-k …" (-n 0: in one process)
	@echo "== tests: web client"
	@cd clients/web && npm test --silent
	@echo "== tests"
	@$(bin)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

bench: install ## measure everything, about 20 minutes. ARGS="--only delivery --rounds 1 …" (ARGS=--help); ARGS="--compare OLD NEW" compares two results
	@PYTHONPATH=layers/tokenstream $(bin)/python -m benchmarks $(ARGS)

bench-quick: install ## measure what tells most, in two minutes
	@PYTHONPATH=layers/tokenstream $(bin)/python -m benchmarks --quick $(ARGS)

check: install graphql/node_modules/installed clients/web/node_modules/installed ## format, lint, types, templates, resolvers, schema
	@echo "== ruff: format"
	@$(bin)/ruff format --check --quiet .
	@echo "== ruff: lint"
	@$(bin)/ruff check --quiet .
	@echo "== mypy: layer, client, local stack, benchmarks, tests"
	@$(bin)/mypy --no-error-summary layers/tokenstream/tokenstream clients/python/tokenstream_client local benchmarks tests
	@for function in functions/*/; do \
	  echo "== mypy: $$function"; \
	  MYPYPATH="$$function" $(bin)/mypy --no-error-summary "$$function" || exit 1; \
	done
	@echo "== cfn-lint: template.yaml, with the serverless rules"
	@$(bin)/cfn-lint --append-rules cfn_lint_serverless.rules
	@echo "== sam validate: template.yaml"
	@sam validate --lint >/dev/null
	@echo "== eslint and types: graphql"
	@cd graphql && node_modules/.bin/eslint --max-warnings 0 . && node_modules/.bin/tsc
	@echo "== eslint, prettier, types: clients/web"
	@cd clients/web && npm run --silent check
	@echo "== docs/frames.schema.json"
	@PYTHONPATH=layers/tokenstream $(bin)/python -m tokenstream.schema --check docs/frames.schema.json

format: .venv/installed ## format the code and mend what lint can mend
	@$(bin)/ruff format .
	@$(bin)/ruff check --fix .

schema: .venv/installed ## write docs/frames.schema.json from the code
	@PYTHONPATH=layers/tokenstream $(bin)/python -m tokenstream.schema docs/frames.schema.json

build: install ## build layer and functions for Lambda. ARCHITECTURE=x86_64 for the other processor
	@LAYER_ARCHITECTURE=$(ARCHITECTURE) sam build --parameter-overrides Architecture=$(ARCHITECTURE)

invoke: install ## run one function with one event. F=http_stream E=events/http_stream/bad_token.json ARGS="--session ID --verbose"
	@test -n "$(F)" -a -n "$(E)" || { echo "which function and which event? make invoke F=http_stream E=events/http_stream/bad_token.json" >&2; exit 2; }
	@$(bin)/python -m local.invoke "$(F)" "$(E)" $(ARGS)

web-deploy: install web ## put the web client into a deployed stack's bucket. STACK=tokenstream-dev
	@test -n "$(STACK)" || { echo "of which stack? make web-deploy STACK=tokenstream-dev" >&2; exit 2; }
	@$(bin)/python -m local.deployed_web "$(STACK)" clients/web/dist

endpoints: install ## write .local/STACK.json from a deployed stack's outputs. STACK=tokenstream-dev
	@test -n "$(STACK)" || { echo "of which stack? make endpoints STACK=tokenstream-dev" >&2; exit 2; }
	@$(bin)/python -m local.deployed_endpoints "$(STACK)" ".local/$(STACK).json"

# Each environment is a virtual environment of its own, filled from a file with hashes.
define environment
	@echo "== installing $(1)"
	@$(uv) venv --quiet --allow-existing --python $(PYTHON) $(1)
	@$(uv) pip sync --quiet --require-hashes --python $(1) $(2)
endef

.tools/uv/installed: requirements/uv.txt
	@echo "== installing .tools/uv"
	@$(PYTHON) -c 'import sys; sys.exit("tokenstream needs Python 3.11 or newer, this is %d.%d: set PYTHON=" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv .tools/uv
	@.tools/uv/bin/python -m pip install --quiet --require-hashes -r requirements/uv.txt
	@touch $@

.venv/installed: requirements/dev.txt clients/python/pyproject.toml .tools/uv/installed
	$(call environment,.venv,requirements/dev.txt)
	@$(uv) pip install --quiet --python .venv --no-deps --no-build-isolation --editable clients/python
	@touch $@

.tools/sam/installed: requirements/sam.txt .tools/uv/installed
	$(call environment,.tools/sam,requirements/sam.txt)
	@touch $@

.tools/ministack/installed: requirements/ministack.txt .tools/uv/installed
	$(call environment,.tools/ministack,requirements/ministack.txt)
	@touch $@

clients/web/dist/built: clients/web/node_modules/installed $(shell find clients/web -not -path '*/node_modules*' -not -path '*/dist*' -not -path '*/tests*' -type f 2>/dev/null)
	@echo "== building clients/web"
	@cd clients/web && npm run --silent build -- --logLevel warn
	@touch $@

# Where the browser is that tests the web client. CHROMIUM=… names another one.
.tools/chromium:
	@mkdir -p $(@D)
	@clients/web/tests/browser/find-chromium >$@.found
	@mv $@.found $@

# What checks the resolvers, which need Node alone to run; a client that tests follow answers with; the web client.
graphql/node_modules/installed tests/local/amplify/node_modules/installed clients/web/node_modules/installed: %/node_modules/installed: %/package-lock.json %/.npmrc
	@echo "== installing $*/node_modules"
	@cd $* && npm ci --loglevel=error >/dev/null
	@touch $@

lock: .tools/uv/installed ## resolve the requirement files anew, with hashes
	@for file in requirements/{uv,dev,sam,ministack} layers/tokenstream/requirements; do \
	  echo "== locking $$file"; \
	  $(uv) pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	    --custom-compile-command "make lock" $$file.in -o $$file.txt || exit 1; \
	done
	@for folder in graphql tests/local/amplify clients/web; do \
	  echo "== locking $$folder/package-lock.json"; \
	  (cd $$folder && npm update --loglevel=error --package-lock-only >/dev/null) || exit 1; \
	done

clean: ## remove everything that was installed or built
	rm -rf graphql/node_modules tests/local/amplify/node_modules clients/web/node_modules clients/web/dist .venv .tools .local .aws-sam .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
