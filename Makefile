# Every target does all of its own set-up: Python (3.10-3.12), make and pip are enough.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: demo test test-all lint bench clean
.DELETE_ON_ERROR:

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	touch $@

demo: $(READY)            ## a real photo moves: writes demo/
	$(BIN)/reenactor demo --out demo

# A room at a time, so that what one room's tests leave in memory harms no other's.
# One thread each: the tests run side by side, and threads that wait for each other's cores take ten times as long.
test test-all: export OMP_NUM_THREADS = 1

test: $(READY)            ## the fast tests
	for part in tests/[!r]*/ tests/research/*/; do \
	    case $$part in *__pycache__*) continue;; esac; \
	    $(BIN)/python -m pytest -q -m "not slow" -n 2 $$part || exit 1; \
	done

test-all: $(READY)        ## every test, slow ones included
	$(BIN)/python -m pytest

lint: $(READY)            ## style, types, and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

bench: $(READY)           ## speed tables of this machine
	$(BIN)/reenactor bench

clean:
	rm -rf $(VENV) demo
