# `make` lists the targets.
PYTHON ?= python3
VENV   ?= .venv
unexport PYTHONDONTWRITEBYTECODE # or every process of the tests would compile the service for itself
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes

.DEFAULT_GOAL := help
.PHONY: help run token demo test quick coverage chaos scale bench check lint deploycheck apicheck pagecheck site docs screenshots format requirements wheel clean

help: ## list the targets
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

run: $(VENV)/.runtime ## start the service: on SQLite at http://127.0.0.1:8000, or as .env says
	@echo
	@echo "  Documentation  at /docs of the address below"
	@echo "  A token        make -s token     (in another terminal)"
	@echo "  Stop           Ctrl-C"
	@echo
	@exec $(BIN)/python -m app serve

token: $(VENV)/.runtime ## print a token for local mode
	@$(BIN)/python -m app token

demo: $(VENV)/.test ## watch a sample folder and see its events arrive and being processed
	@$(BIN)/python examples/demo.py

# The files alone: to collect the whole suite again takes a quarter of a minute.
LOAD_TESTS = $(shell grep -rlF mark.load tests --include='*.py')
test: $(VENV)/.test ## run the whole suite, on SQLite and on a real PostgreSQL that it starts itself
	$(BIN)/pytest tests/ -v -m "not load" -n logical --dist worksteal --durations=40
	$(BIN)/pytest $(LOAD_TESTS) -v -m load --durations=20

quick: $(VENV)/.test ## run what needs neither PostgreSQL nor another process nor a browser, within a minute
	$(BIN)/pytest tests/ --quick -q -n logical --dist worksteal

coverage: $(VENV)/.test ## the same with coverage, which takes half as long again
	$(BIN)/pytest tests/ -v -m "not load" -n logical --dist worksteal --cov=app --cov=sync_client --cov-report=
	$(BIN)/pytest $(LOAD_TESTS) -v -m load --cov=app --cov=sync_client --cov-append --cov-fail-under=90

chaos: $(VENV)/.test ## fault after fault under load, each for ten seconds or SYNC_TEST_CHAOS_SECONDS; then kills of replicas
	SYNC_TEST_CHAOS_SECONDS=$${SYNC_TEST_CHAOS_SECONDS:-10} $(BIN)/pytest tests/faults tests/changes/test_chaos.py tests/deliveries/test_chaos.py -v -s

scale: $(VENV)/.test ## checks of 200,000 files while replicas are killed and owners fail
	SYNC_TEST_CHAOS_SECONDS=$${SYNC_TEST_CHAOS_SECONDS:-10} $(BIN)/pytest tests/consistency/test_chaos.py tests/consistency/test_scale.py \
		tests/consistency/test_events.py -v -s

bench: $(VENV)/.bench ## measure the service beside others and write docs/performance.md; needs wrk, and npm for Fastify
	@if command -v npm > /dev/null; then $(MAKE) --no-print-directory benchmarks/fastify/node_modules; fi
	@$(BIN)/python -m benchmarks

check: lint deploycheck apicheck site pagecheck ## all checks: of the code, of what deploys it, of the OpenAPI document, of the console, of the pages' links

lint: $(VENV)/.dev ## lint, types, dependency rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

MANIFESTS = $(filter-out %/kustomization.yaml,$(wildcard deploy/kubernetes/*.yaml deploy/kubernetes/migration/*.yaml))
deploycheck: $(VENV)/.dev ## Dockerfiles, compose file and Kubernetes manifests against their schemas
	$(BIN)/hadolint Dockerfile Dockerfile.test
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml
	$(BIN)/kubernetes-validate --strict --quiet -k 1.27 $(MANIFESTS)
	$(BIN)/kubernetes-validate --strict --quiet -k 1.37 $(MANIFESTS)

apicheck: $(VENV)/.runtime .ci/spectral/node_modules ## the OpenAPI document against spectral's rules; needs npm
	.ci/spectral/lint

pagecheck: .ci/console/node_modules ## types and lint of the console's JavaScript; needs npm
	.ci/console/lint

site: $(VENV)/.dev ## build the documentation site into build/site, to be read and searched without a server; wrong links are errors
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --conf-dir docs/site --doctree-dir build/doctrees . build/site

docs: $(VENV)/.runtime ## write the tables of settings into the documentation
	$(BIN)/python -m docs.generate_settings

CHROMIUM ?= chromium
screenshots: $(VENV)/.test ## draw every page, empty, busy and broken, into build/console, and those of the documentation
	$(BIN)/python examples/console_pictures.py $(CHROMIUM)

format: $(VENV)/.dev ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-strip-extras \
	--no-emit-index-url --no-emit-find-links --custom-compile-command 'make requirements'
requirements: $(VENV)/.dev ## compile the pinned requirements from the loose ones (add COMPILE_FLAGS=--upgrade for newer ones)
	$(COMPILE) $(COMPILE_FLAGS) requirements/runtime.in -o requirements/runtime.txt
	$(COMPILE) $(COMPILE_FLAGS) requirements/test.in -o requirements.txt
	$(COMPILE) $(COMPILE_FLAGS) requirements/bench.in -o requirements/bench.txt
	$(COMPILE) $(COMPILE_FLAGS) requirements/dev.in -o requirements/dev.txt

wheel: $(VENV)/.created ## build the wheel of the Python client into dist/
	@folder=$$(mktemp -d) && cp -R sync_client/. $$folder && $(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist $$folder; status=$$?; rm -r $$folder; exit $$status

clean: ## remove what the targets above made, except the database
	rm -rf $(VENV) .ci/spectral/node_modules .ci/console/node_modules benchmarks/fastify/node_modules build dist .coverage htmlcov .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

.ci/spectral/node_modules .ci/console/node_modules benchmarks/fastify/node_modules: %/node_modules: %/package-lock.json
	npm ci --prefix $* --ignore-scripts --no-audit --no-fund --silent
	@touch $@

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 …")'
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.runtime: requirements/runtime.txt $(VENV)/.created
	@echo "Installing what the service needs into $(VENV) …" >&2
	@$(PIP) -r $< && touch $@

$(VENV)/.test: requirements.txt $(VENV)/.created
	@echo "Installing what the tests need into $(VENV) …" >&2
	@$(PIP) -r $< && touch $@ $(VENV)/.runtime

$(VENV)/.bench: requirements/bench.txt $(VENV)/.created
	@echo "Installing what the benchmarks need into $(VENV) …" >&2
	@$(PIP) -r $< && touch $@ $(VENV)/.test $(VENV)/.runtime

$(VENV)/.dev: requirements/dev.txt $(VENV)/.created
	@echo "Installing what the checks need into $(VENV) …" >&2
	@$(PIP) -r $< && touch $@ $(VENV)/.bench $(VENV)/.test $(VENV)/.runtime
