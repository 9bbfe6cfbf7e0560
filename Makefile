# Everything a developer or CI needs, such as `make demo` and `make test`. `make setup` prepares a machine; it can be
# repeated.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

CACHE ?= $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)/heliograph
PYTHON ?= python3
BIN := .venv/bin
UV := $(or $(shell command -v uv 2>/dev/null),$(CACHE)/uv/bin/uv)
MEMBERS := shared services/indexer services/router services/registry services/configurator cli
SERVICES := indexer router registry configurator
SCRATCH := $(CACHE)/scratch
# Tests mostly wait, so there are more workers than cores; each may use up to 1 GB.
WORKERS ?= $(shell cores=$$(nproc); echo $$((cores > 4 ? 8 : 2 * cores)))
PYTEST_IN_PARALLEL := $(BIN)/pytest --numprocesses $(WORKERS) --dist worksteal
export HELIOGRAPH_TEST_CACHE ?= $(CACHE)

.PHONY: help setup demo bench images images-test fresh-test browser-test screenshots soak test lint types contracts quick unit lock lock-check rpc rpc-check asyncapi asyncapi-check docs docs-check trace-picture machines builders clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

setup: .venv/.ready ## create .venv from the hash-pinned lock

$(CACHE)/uv/bin/uv:
	$(PYTHON) -m ensurepip --version >/dev/null 2>&1 || apt-get install --yes --quiet python3-venv || \
		{ apt-get update --quiet && apt-get install --yes --quiet python3-venv; }
	$(PYTHON) -m venv $(CACHE)/uv
	$(CACHE)/uv/bin/pip install --quiet 'uv==0.13.9'

.venv/.ready: requirements-dev.lock $(MEMBERS:%=%/pyproject.toml) | $(UV)
	test -x $(BIN)/python || $(UV) venv --quiet --no-python-downloads --python '>=3.11' .venv
	$(UV) pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements-dev.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps $(MEMBERS:%=-e ./%)
	$(BIN)/python -m compileall -q $(MEMBERS)
	touch $@

# --- locks ----------------------------------------------------------------------------------------
OMITTED := $(foreach name,shared indexer router registry configurator,--no-emit-package heliograph-$(name)) \
	--no-emit-package heliograph
COMPILE := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-header --no-annotate $(OMITTED)
LOCKS := $(SERVICES:%=services/%/requirements.lock) requirements-build.lock requirements-dev.lock
# $(1): the folder with the locks to update
compile_into = for service in $(SERVICES); do \
		$(COMPILE) services/$$service/pyproject.toml -o $(1)/services/$$service/requirements.lock >/dev/null; done; \
	$(COMPILE) --group pyproject.toml:build -o $(1)/requirements-build.lock >/dev/null; \
	$(COMPILE) --group pyproject.toml:dev cli/pyproject.toml -o $(1)/requirements-dev.lock >/dev/null

lock: | $(UV) ## update every requirements lock, keeping pins that are still valid
	$(call compile_into,.)

lock-check: setup ## check that the locks match the pyproject files
	rm -rf $(SCRATCH)/lock
	for lock in $(LOCKS); do install -D -m 644 $$lock $(SCRATCH)/lock/$$lock; done
	$(call compile_into,$(SCRATCH)/lock)
	for lock in $(LOCKS); do diff -u $$lock $(SCRATCH)/lock/$$lock; done

# --- generated code -------------------------------------------------------------------------------
PROTOC := $(BIN)/python -m grpc_tools.protoc --plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy
# $(1): the import root, $(2): the output folder, $(3): the .proto files, $(4): more output options
generate = mkdir -p $(2) && $(PROTOC) -I $(1) --python_out=$(2) --mypy_out=quiet:$(2) $(4) $(3)
# $(1): the folder to use as the root of the generated tree
generate_into = $(call generate,shared/src,$(1)/shared/src,shared/src/heliograph_shared/rpc/resolver.proto,--grpc_python_out=$(1)/shared/src) && \
	$(call generate,services/indexer/src,$(1)/services/indexer/src,services/indexer/src/heliograph_indexer/adapters/rpc/containerd.proto services/indexer/src/heliograph_indexer/adapters/rpc/cri.proto) && \
	$(call generate,.,$(1),tests/support/rpc/cri.proto tests/support/rpc/containerd.proto)

rpc: setup ## generate the gRPC code from its .proto files
	$(call generate_into,.)

rpc-check: setup ## check that the generated gRPC code is current
	rm -rf $(SCRATCH)/rpc
	$(call generate_into,$(SCRATCH)/rpc)
	cd $(SCRATCH)/rpc && find . -type f | while read -r file; do diff -u "$(CURDIR)/$$file" "$$file"; done

ASYNCAPI := $(BIN)/python -m docs.reference.asyncapi

asyncapi: setup ## generate docs/asyncapi.json from the models of the bus messages
	$(ASYNCAPI) > docs/asyncapi.json

asyncapi-check: setup ## check that docs/asyncapi.json is current
	$(ASYNCAPI) | diff -u docs/asyncapi.json -

# $(1): a page of docs/ that is generated from the code
print_page = $(BIN)/python -m docs.reference.$(1)
PAGES := metrics configuration

docs: setup ## generate docs/metrics.md and docs/configuration.md from the code
	$(foreach page,$(PAGES),$(call print_page,$(page)) > docs/$(page).md;)

docs-check: setup ## check that the generated pages are current
	$(foreach page,$(PAGES),$(call print_page,$(page)) | diff -u docs/$(page).md -;)

# --- checks ---------------------------------------------------------------------------------------
SOURCES := cli/src services/*/src shared/src

lint: setup ## check style and formatting with ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup ## check types with mypy --strict
	$(BIN)/mypy $(SOURCES) tests bench docs

contracts: setup ## check import contracts, and that each distribution declares what it imports
	$(BIN)/lint-imports
	for member in $(MEMBERS); do (cd $$member && $(CURDIR)/$(BIN)/deptry src --config pyproject.toml); done

machines: ## unpack or build what the tests run: containerd versions, docker-registry, skopeo, podman
	tests/support/install-machines.sh
	tests/support/build-containerd.sh
	tests/support/install-clients.sh

quick: setup ## run the unit and contract tests that start no process, in under a minute on two cores
	$(PYTEST_IN_PARALLEL) --hypothesis-profile quick -m 'not processes' tests/unit tests/contract

unit: setup ## run the tests that need no containerd
	$(PYTEST_IN_PARALLEL) tests/unit tests/contract tests/integration

test: setup machines lint types contracts lock-check rpc-check asyncapi-check docs-check ## run all checks and tests of CI
	$(PYTEST_IN_PARALLEL)

browser-test: setup ## test the debug page in Chromium, which is installed if it is missing
	tests/support/install-browser.sh
	$(BIN)/pytest tests/browser

screenshots: setup ## take the pictures in docs/images again, from a running system
	tests/support/install-browser.sh
	$(BIN)/python -m tests.browser.screenshots docs/images

soak: setup machines ## run real containerds' pulls for ten minutes while their peers are killed (SOAK_S=600)
	HELIOGRAPH_SOAK_S=$(or $(SOAK_S),600) $(BIN)/pytest -s --timeout 3600 tests/e2e/test_soak.py

# --- images ---------------------------------------------------------------------------------------
builders: ## unpack Debian's buildah, runc and debootstrap
	tests/support/install-builders.sh

images: ## build an image of each service (BASE=image, TAG=version, REPOSITORY=ghcr.io/heliograph)
	services/build-images.sh

# In a mount namespace: mounts of the tests disappear with it, however the tests end.
images-test: setup machines builders ## build the images from a locally made base, and run them with runc
	tests/support/make-base.sh
	unshare --mount -- $(BIN)/pytest --timeout 900 tests/images

fresh-test: machines builders ## run the README's two commands on bare Debians (RELEASES="bookworm trixie", FRESH="demo test")
	tests/support/fresh-test.sh

bench: setup machines ## measure against nginx, Go and docker-registry, about 15 minutes (ONLY=row, RUNS=15)
	bench/install-tools.sh
	bench/run.sh $(if $(ONLY),--only $(ONLY)) --runs $(or $(RUNS),15)

trace-picture: setup machines ## draw a pull by containerd 2.1 from its spans, into docs/pictures
	HELIOGRAPH_TRACE_PICTURE=$(CURDIR)/docs/pictures/trace-of-a-pull.svg $(BIN)/pytest -q tests/e2e/test_tracing.py

demo: setup ## start a cluster on this machine and pull an image through it (ONCE=1: exit after the table)
	$(BIN)/heliograph up $(if $(ONCE),--once)

clean: ## remove generated files from the tree
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
