# Each target does everything on a fresh machine with Python >= 3.11.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: quickstart test clean

quickstart: .venv/all
	$(BIN)/advdistill quickstart

test: .venv/test
	$(BIN)/ruff check .
	$(BIN)/python -m pytest

.venv/%: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "advdistill needs Python 3.11 or newer"'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[$*]'
	touch $@

clean:
	rm -rf .venv build *.egg-info
