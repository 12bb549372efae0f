# Every target sets up what it needs first; a fresh clone needs only Python 3.11 or newer and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
STREET ?= street
# The boards' own standard library, for the types of the firmware; apart, because it would hide CPython's.
STUBS := $(VENV)/board-stubs/.ready
# Browser tests need a browser, the board's MQTT a second broker, the store its other database, the alert rules
# and the unit those who read them (promtool, systemd-analyze); nothing else comes from outside PyPI.
DEBIAN_FOR_TESTS := chromium chromium-driver mosquitto postgresql prometheus systemd

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format bench soak sbom audit lock clean debian-for-tests

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(STAMP)  ## make the virtual environment with the locked versions

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "found $$($(PYTHON) --version 2>&1), wanted Python 3.11 or newer: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	  { echo "found no venv module, wanted one: apt-get install python3-venv" >&2; exit 2; }
	@echo "installing what requirements.lock names (about a minute the first time)" >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock || \
	  { echo "the packages could not be installed; where pip found no matching distribution of a package, it has no" \
	    "wheel for $$(uname -sm) and $$($(BIN)/python --version): take Linux x86-64, or install what the part you need" \
	    "asks for: pip install '.[device]' for boards, '.' for the gateway alone" >&2; exit 2; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(STAMP)  ## a street of virtual boards on recorded traces; prints the page's address
	$(BIN)/peilmerk demo --data $(STREET)

# Most tests wait for real parts; five files at a time keep two cores busy. A file stays in one process.
test: $(STAMP) debian-for-tests  ## the whole test suite
	$(BIN)/python -m pytest --numprocesses 5 --dist loadfile --no-loadscope-reorder

lint: $(STAMP) $(STUBS)  ## format, lint, types and the direction of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy --config-file firmware/mypy.ini firmware
	PYTHONPATH=firmware $(BIN)/lint-imports --no-cache

$(STUBS): $(STAMP)
	@rm -rf $(@D)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $(@D) \
	  $$($(BIN)/python -m pip freeze | grep -E '^micropython-(esp32|stdlib)-stubs==')
	@touch $@

format: $(STAMP)  ## apply the formatter and the safe lint fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP)  ## measurements: sizes on the wire
	$(BIN)/peilmerk bench wire

soak: $(STAMP)  ## longer campaigns: the street for ten minutes, the decoders under many more inputs
	HYPOTHESIS_PROFILE=soak $(BIN)/python -m pytest --numprocesses 2 --timeout 3600 tests/protocol tests/gateway tests/updates \
	  tests/firmware/test_node_outbox_power.py tests/firmware/test_node_endures.py tests/firmware/test_node_air_parsers.py tests/firmware/test_node_link.py
	$(BIN)/peilmerk demo --for 600 --json

sbom: $(STAMP)  ## write dist/sbom.json: everything that is installed, in CycloneDX, checked against its schema
	@mkdir -p dist
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --mc-type application --spec-version 1.6 --output-format JSON --output-reproducible --validate $(BIN)/python -o dist/sbom.json
	@echo "wrote dist/sbom.json"

audit: $(STAMP)  ## known weaknesses of the locked packages; says so where the database cannot be reached
	$(BIN)/python -m peilmerk_bench.dependencies

lock: $(STAMP)  ## write requirements.lock anew from pyproject.toml
	$(BIN)/python -m uv pip compile --quiet --all-extras --universal --generate-hashes --python-version 3.11 \
	  --custom-compile-command "make lock" --output-file requirements.lock pyproject.toml

clean:  ## remove the virtual environment, caches and the demo's street
	rm -rf $(VENV) $(STREET) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

debian-for-tests:
	@missing=; for tool in chromium chromedriver mosquitto promtool systemd-analyze; do PATH=$$PATH:/usr/sbin command -v $$tool >/dev/null || missing="$$missing $$tool"; done; \
	ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || missing="$$missing initdb"; \
	if [ -n "$$missing" ]; then \
	  if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then sudo=; \
	  elif command -v apt-get >/dev/null && sudo -n true 2>/dev/null; then sudo="sudo -n"; \
	  else echo "not found:$$missing; tests in a browser, with a second broker, with PostgreSQL and of the alert rules and the unit need them: apt-get install $(DEBIAN_FOR_TESTS)" >&2; exit 0; fi; \
	  echo "installing $(DEBIAN_FOR_TESTS) for the tests" >&2; \
	  $$sudo apt-get update -qq && DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y -qq --no-install-recommends $(DEBIAN_FOR_TESTS) >/dev/null; \
	fi
