# Two commands do all on a bare machine: `make demo` and `make test`. Both make .venv/ where it is missing.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: demo test test-cpus lint bench install clean

demo: $(INSTALLED)  ## phantom → low dose → denoised → metrics and comparison.png in demo/
	$(BIN)/bioatt demo demo --overwrite

test: $(INSTALLED) lint  ## every test that needs no Slicer application
	$(BIN)/python -m pytest

test-cpus: $(INSTALLED)  ## the network's tests as on CPUs of fewer instructions than this one
	set -e; for isa in AVX2 AVX512_CORE ALL; do echo "oneDNN up to $$isa"; ONEDNN_MAX_CPU_ISA=$$isa \
	$(BIN)/python -m pytest Testing/engine/network Testing/engine/inference; done

lint: $(INSTALLED)  ## style, types and the import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=BioAttDenoise:Training $(BIN)/lint-imports --no-cache

bench: $(INSTALLED)  ## what halo, precision and a whole volume cost on this machine
	$(BIN)/python Testing/bench/bench_denoiser.py

install: $(INSTALLED)  ## .venv/ with the engine, its training and its tests, under one constraints file

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else "Python 3.11 to 3.13 is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

clean:  ## remove what make made
	rm -rf .venv demo
