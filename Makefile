# Two commands do all on a bare machine: `make demo` and `make test`. Both make .venv/ where it is missing.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
INSTALLED_DOCS := .venv/.installed-docs
# one thread a process: the tests run side by side, at most four of them, for each holds torch and VTK
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

.PHONY: demo test test-fast test-cpus lint docs wheel sbom bench bench-gpu install clean

demo: $(INSTALLED)  ## phantom → low dose → denoised → metrics and comparison.png in demo/
	$(BIN)/bioatt demo demo --overwrite

test: $(INSTALLED) lint  ## every test that needs no Slicer application; TESTS=Testing/engine for some
	env -u SLICER_BASE_PYTHON $(PYTEST) $(TESTS)
	if [ -n "$$SLICER_BASE_PYTHON" ]; then $(PYTEST) Testing/module; fi  # once more on Slicer's own Base/Python

test-fast: $(INSTALLED)  ## most tests, without the slow ones (Testing/slow_tests.txt)
	$(PYTEST) -m "not slow" $(TESTS)

test-cpus: $(INSTALLED)  ## the network's tests as on CPUs of fewer instructions than this one
	set -e; for isa in AVX2 AVX512_CORE ALL; do echo "oneDNN up to $$isa"; ONEDNN_MAX_CPU_ISA=$$isa \
	$(BIN)/python -m pytest Testing/engine/network Testing/engine/inference; done

lint: $(INSTALLED)  ## style, types, the import rules and the Extensions Index's criteria
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=BioAttDenoise:Training $(BIN)/lint-imports --no-cache
	$(BIN)/python Testing/index_check.py

docs: $(INSTALLED_DOCS)  ## the documentation site in build/site/; a broken link fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	$(BIN)/python -m pytest Testing/docs

wheel: $(INSTALLED)  ## the wheel in dist/
	$(BIN)/hatchling build -t wheel

sbom: $(INSTALLED)  ## the software bill of materials, CycloneDX from constraints.txt, in build/sbom.json
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[sbom]'
	mkdir -p build
	$(BIN)/cyclonedx-py requirements constraints.txt --pyproject pyproject.toml --output-reproducible -o build/sbom.json

bench: $(INSTALLED)  ## what denoising costs on this machine, by part, backend and precision: build/bench/
	mkdir -p build && $(BIN)/bioatt bench --out build/bench $(BENCH)

bench-gpu:  ## on a graphics card: exactness, its convolution ceiling, 300 slices end to end (at most 2 minutes)
	GPU_LIMIT_S=$${GPU_LIMIT_S:-150} PYTHON=$${PYTHON:-$(PYTHON)} bash Testing/gpu/run.sh check

install: $(INSTALLED)  ## .venv/ with the engine, its training and its tests, under one constraints file

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else "Python 3.11 to 3.13 is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

$(INSTALLED_DOCS): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

clean:  ## remove what make made
	rm -rf .venv demo build dist
