.PHONY: venv lint test test-slow test-lowest constraints soak demo bench accuracy format clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

venv: $(STAMP)

# Installed once; again when a dependency may have changed.
$(STAMP): pyproject.toml hatch_build.py runtime/pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ./runtime -e '.[export,demo,dev]'
	touch $@

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: venv
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# By file on each core, with one thread of each library: half the time of one process with all of them.
test: venv
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -m "not slow" -n auto --dist loadfile

test-slow: venv
	$(BIN)/python -m pytest -m slow

# The runtime's tests with the lowest versions that runtime/pyproject.toml allows, in a venv of its own. Bundles in 8 bits
# are exported with the NNCF of that OpenVINO's time.
LOWEST := .venv-lowest
test-lowest:
	test -x $(LOWEST)/bin/python || $(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check -c runtime/constraints-lowest.txt \
	  -e './runtime[http,modbus,mqtt,video]' -e '.[export,dev]' 'nncf==3.0.*'
	$(LOWEST)/bin/python -m pytest -m "not slow" tests/runtime

# After the tests have passed: the versions that they passed with, and the lowest ones.
constraints: venv
	$(BIN)/python runtime/write_constraints.py

# The soak test for MINUTES minutes; writes its figures to docs/reliability.md.
soak: MINUTES ?= 60
soak: venv
	PATCHCORE_SOAK_MINUTES=$(MINUTES) PATCHCORE_SOAK_REPORT=docs/reliability.md $(BIN)/python -m pytest -m slow tests/runtime/test_soak.py

demo: venv
	$(BIN)/python -m samples.demo

bench: venv
	$(BIN)/python -m benchmarks.bench $(if $(ROW),--row $(ROW)) $(if $(wildcard ../shared),--shared ../shared)

# What is detected, beside anomalib in a venv of its own: hours. PEER_PYTHON has anomalib 2.7.0.
PAGES := few_images robustness dirty tuning recipes thresholds
accuracy: venv
	$(BIN)/python -m benchmarks.accuracy --tuned --time --shared ../shared --peer-python $(PEER_PYTHON)
	for page in $(PAGES); do $(BIN)/python -m benchmarks.$$page --shared ../shared || exit 1; done

clean:
	rm -rf $(VENV) $(LOWEST) demo .mypy_cache .ruff_cache .pytest_cache dist
