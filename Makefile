# Every target does all of its own set-up: Python (3.10-3.12), make and pip are enough.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# Installed: the package alone, and with the developer's tools.
READY  := $(VENV)/.ready
DEV    := $(VENV)/.ready-dev
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test test-slow test-all lint bench wheel wheel-test clean
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

clean:
	rm -rf $(VENV) demo dist build
