# Every target works on a fresh machine with Python >= 3.11.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/pip install --quiet --no-compile --constraint constraints.txt
TEACHER ?= ../shared/teachers/cifar10_resnet18_linf_8_255.safetensors

.PHONY: quickstart test coverage docs bench faults endurance clean derive

quickstart: .venv/all
	$(BIN)/advdistill quickstart

test: .venv/test
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

coverage: .venv/test
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder
	$(BIN)/coverage combine --quiet
	$(BIN)/python tests/covered.py

docs: .venv/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

derive: .venv/test
	$(BIN)/python docs/derive.py

bench: .venv/all
	$(BIN)/python benchmarks/step.py
	$(BIN)/python benchmarks/scaling.py
	if test -f $(TEACHER); then $(BIN)/python benchmarks/autoattack.py $(TEACHER) --share 0.1; \
	else echo "AutoAttack is not timed: TEACHER=$(TEACHER), a robust CIFAR-10 checkpoint, is not there."; fi

faults: .venv/test
	$(BIN)/python tests/faults.py --out benchmarks/results/faults.md

endurance: .venv/test faults
	$(BIN)/python tests/endurance/long.py --kills 100 --out benchmarks/results/endurance.md

.venv/%: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("advdistill needs Python 3.11 or newer: make PYTHON=...")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(INSTALL) --editable '.[$*]'
	# without dependencies: timm and torchattacks require torchvision, which fits only PyPI's own torch, and torchattacks
	# requires requests 2.25, which conflicts with other packages
	[ $* != test ] || $(INSTALL) --no-deps timm torchattacks
	# robustbench, whose networks the tests compare with ours; after torchattacks, whose wheel has an old copy of it
	[ $* != test ] || $(INSTALL) --no-deps --force-reinstall robustbench==1.1.1
	# pip would compile one module after another, with the tests of every package
	$(BIN)/python -m compileall -qq -j 0 -x '/tests?/' .venv/lib || true
	touch $@

clean:
	rm -rf .venv build site *.egg-info
