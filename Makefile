# Every target does all of its own set-up: Python (3.11 or 3.12), make and pip are enough.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# Installed: the package alone, and with the developer's tools.
READY  := $(VENV)/.ready
DEV    := $(VENV)/.ready-dev
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test test-slow test-all lint bench wheel wheel-test lock sbom audit clean
.DELETE_ON_ERROR:

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade pip
	$(PIP) -c constraints.txt -e .
	touch $@

$(DEV): $(READY)
	$(PIP) -c constraints.txt -e ".[dev]"
	touch $@

demo: $(READY)            ## a real photo moves: writes demo/
	$(BIN)/reenactor demo --out demo

# One thread each: the tests run side by side, and threads that wait for each other's cores take ten times as long.
test test-slow test-all: export OMP_NUM_THREADS = 1

test: $(DEV)              ## the fast tests: a few minutes
	$(BIN)/python -m pytest -q -m "not slow" -n 2 --dist loadfile tests

SLOW ?= tests
test-slow: $(DEV)         ## the tests that take minutes (browsers, processes, training), in the folders SLOW
	$(BIN)/python -m pytest -q -m slow $(SLOW)

test-all: test test-slow  ## every test

lint: $(DEV)              ## style, types, and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

bench: $(READY)           ## speed tables of this machine
	$(BIN)/reenactor bench

wheel: $(DEV)             ## dist/reenactor-*.whl
	$(BIN)/python -m build

wheel-test: wheel         ## the wheel alone, in a new environment outside the checkout, runs the demo
	tools/wheel_test.sh dist/reenactor-*.whl

# Tools that read other environments have one of their own.
TOOLS := build/tools
$(TOOLS)/.ready:
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/pip install --quiet --disable-pip-version-check cyclonedx-bom pip-audit pip-licenses uv
	touch $@

# What the container installs, by hashes. PyTorch is not in it: its build without CUDA has hashes of its own.
lock: $(TOOLS)/.ready     ## requirements.lock from pyproject.toml, with the newest versions that it allows
	$(TOOLS)/bin/uv --config-file tools/uv.toml pip compile --quiet --upgrade pyproject.toml --extra server \
	    --python-version 3.12 --python-platform linux --generate-hashes --no-emit-package torch \
	    -c constraints.txt --no-header -o requirements.lock

audit: $(TOOLS)/.ready    ## known holes in what requirements.lock names; asks PyPI
	$(TOOLS)/bin/pip-audit --strict --disable-pip --require-hashes -r requirements.lock

sbom: $(TOOLS)/.ready     ## dist/sbom.cdx.json (CycloneDX) and dist/NOTICE: what the service is made of, and its licences
	$(PYTHON) -m venv --clear build/service
	build/service/bin/pip install --quiet --disable-pip-version-check -c constraints.txt ".[server]"
	mkdir -p dist
	$(TOOLS)/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
	    --of JSON -o dist/sbom.cdx.json build/service/bin/python
	$(TOOLS)/bin/pip-licenses --python build/service/bin/python --format plain-vertical --with-license-file \
	    --with-notice-file --no-license-path --output-file dist/NOTICE

clean:
	rm -rf $(VENV) demo dist build
