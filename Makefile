.PHONY: help venv lint test test-slow test-lowest test-serving constraints wheels release docs soak demo bench accuracy format clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO_STAMP := $(VENV)/.installed-demo
STAMP := $(VENV)/.installed
SETUP := pyproject.toml hatch_build.py runtime/pyproject.toml

.DEFAULT_GOAL := help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(STAMP) ## .venv with all three packages, from this checkout, and the tools (TORCH=cpu|xpu|cu130|default)

# Installed once; again when a dependency may have changed. The demo does without the tools.
$(STAMP): $(SETUP)
	$(PYTHON) .ci/install.py $(VENV) export,demo,dev,docs
	touch $@ $(DEMO_STAMP)

$(DEMO_STAMP): $(SETUP)
	$(PYTHON) .ci/install.py $(VENV) export,demo
	touch $@

lint: venv ## rules, types, layers: a minute
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: venv ## mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# By file on each core, with one thread of each library: half the time of one process with all of them.
test: venv ## the tests but for the slow ones: under 20 minutes on two cores
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -m "not slow" -n auto --dist loadfile

test-slow: venv ## the tests that take minutes each
	$(BIN)/python -m pytest -m slow

# The runtime's tests with the lowest versions that runtime/pyproject.toml allows, in a venv of its own. Bundles in 8 bits
# are exported with the NNCF of that OpenVINO's time.
LOWEST := .venv-lowest
test-lowest: ## the runtime's tests with the lowest versions that it allows
	test -x $(LOWEST)/bin/python || $(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check -c runtime/constraints-lowest.txt \
	  -e './runtime[http,modbus,mqtt,serving,video]' -e '.[export,dev]' 'nncf==3.0.*'
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(LOWEST)/bin/python -m pytest -m "not slow" -n auto --dist loadfile tests/runtime

test-serving: venv ## lines against the model servers of the package index, each in a venv of its own (1.7 GiB)
	$(BIN)/python -m pytest -m slow tests/e2e/test_model_servers.py

# After the tests have passed: the versions that they passed with, and the lowest ones.
constraints: venv ## write the lists of versions, after the tests have passed
	$(BIN)/python runtime/write_constraints.py

wheels: venv ## both wheels and both source distributions, in dist/
	rm -rf dist
	$(BIN)/python -m hatchling build -d $(CURDIR)/dist
	cd runtime && $(CURDIR)/$(BIN)/python -m hatchling build -d $(CURDIR)/dist
	$(BIN)/twine check --strict dist/*

release: venv ## check that this commit may be released, build all of it, and say what is left to do
	$(BIN)/python .ci/release.py
	$(MAKE) wheels docs
	@echo "Now: install dist/*.whl into a fresh environment, do docs/start.md there, git tag, and upload (CONTRIBUTING.md)."

docs: venv ## the site, in site/; warnings are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# The soak test for MINUTES minutes; writes its figures to docs/reliability.md.
soak: MINUTES ?= 60
soak: venv ## MINUTES=60 of a line with faults; writes docs/reliability.md
	PATCHCORE_SOAK_MINUTES=$(MINUTES) PATCHCORE_SOAK_REPORT=docs/reliability.md $(BIN)/python -m pytest -m slow tests/runtime/test_soak.py

demo: $(DEMO_STAMP) ## the whole job on real solar cells, in .venv
	$(BIN)/python -m samples.demo

bench: venv ## the benchmark tables of the docs, an hour; ROW=frame for one
	$(BIN)/python -m benchmarks.bench $(if $(ROW),--row $(ROW)) $(if $(wildcard ../shared),--shared ../shared)

# What is detected, beside anomalib in a venv of its own: hours. PEER_PYTHON has anomalib 2.7.0.
PAGES := few_images robustness dirty tuning recipes thresholds
accuracy: venv ## the accuracy tables of the docs, hours
	$(BIN)/python -m benchmarks.accuracy --tuned --time --shared ../shared --peer-python $(PEER_PYTHON)
	for page in $(PAGES); do $(BIN)/python -m benchmarks.$$page --shared ../shared || exit 1; done

clean: ## remove all that the other targets made
	rm -rf $(VENV) $(LOWEST) .venv-serving demo .mypy_cache .ruff_cache .pytest_cache dist site
