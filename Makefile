# Every command a developer needs; each does its own set-up in .venv and build/ and leaves the rest of the machine alone,
# but for Debian packages, which .ci/packages installs when it runs as root.
#
#   make demo     the main job: weather data -> trained networks -> integers -> C on emulated boards
#   make test     lint, C++ tests, freshness of generated text, pytest
#   make core     the compiled modules beside the sources, for work with PYTHONPATH=python
#   make bench    the peers side by side, on this machine (ARGS=--quick), and where the time goes
#   make format   what clang-format and ruff can mend;  make generate  remakes generated text;  make clean
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.PHONY: demo test lint check-cpp check-generated pytest core bench format generate clean packages

PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
# Warnings stop the build where they can be mended, not on the machine of somebody with a newer compiler.
WERROR := $(if $(CI),ON,OFF)
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
BUILD_REQUIRES := "scikit-build-core>=0.10" "pybind11>=2.13" "Cython>=3.0" "numpy>=2.0" "cmake>=3.20" ninja
SOURCES := pyproject.toml CMakeLists.txt README.md $(shell find python cpp firmware -type f \( -name '*.py' -o -name '*.py[xdi]' -o -name '*.[ch]' \
    -o -name '*.cpp' -o -name '*.hpp' -o -name '*.inl' -o -name '*.S' -o -name '*.ld' -o -name '*.csv*' -o -name '*.np*' -o -name '*.json' -o -name '*.html' \) 2>/dev/null)
CXX_FILES = $(shell find cpp python tests/cpp bench -name '*.cpp' -o -name '*.hpp' -o -name '*.h' -o -name '*.c' 2>/dev/null)

demo: packages .venv/installed
	$(BIN)/gatecell demo $(ARGS)

# In the order of cost: what is cheap and fails often comes first, pytest's closing line comes last.
test: packages .venv/installed-dev
	@for check in lint check-cpp check-generated pytest; do $(MAKE) --no-print-directory $$check; done

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run -Werror $(CXX_FILES)

# With gcc and clang: warnings of both stop it.  tests/test_builds.py builds for AArch64, too, and looks for the same bits from all three.
check-cpp: .venv/installed-dev
	for cxx in g++ clang++; do \
	    command -v $$cxx >/dev/null || { echo "$$cxx is missing"; test "$(CI)" != true; continue; }; \
	    $(BIN)/cmake -G Ninja -S . -B build/$$cxx -DCMAKE_CXX_COMPILER=$$cxx -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(BIN)/ninja \
	        -DGATECELL_PYTHON=OFF -DGATECELL_TESTS=ON -DGATECELL_WERROR=ON >/dev/null; \
	    $(BIN)/cmake --build build/$$cxx; \
	    $(BIN)/ctest --test-dir build/$$cxx --output-on-failure --no-tests=error; \
	done

check-generated: .venv/installed-dev
	$(BIN)/python -m gatecell.emit --check

pytest: .venv/installed-dev
	$(BIN)/python -m pytest $(ARGS)

core: packages .venv/environment
	$(BIN)/cmake -G Ninja -S . -B build/core -DGATECELL_WERROR=ON -DPython_EXECUTABLE=$(CURDIR)/$(BIN)/python -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(BIN)/ninja >/dev/null
	$(BIN)/cmake --build build/core
	$(BIN)/cmake --install build/core --component python --prefix python

# In the tree, where the core keeps its symbols: perf names functions by them.
bench: packages .venv/installed-dev core
	PYTHONPATH=python $(BIN)/python bench/run.py $(ARGS)
	$(if $(ARGS),,PYTHONPATH=python $(BIN)/python bench/where.py)

format: .venv/installed-dev
	$(BIN)/clang-format -i $(CXX_FILES)
	$(BIN)/ruff check --fix .

generate: .venv/installed-dev
	PYTHONPATH=python $(BIN)/python -m gatecell.emit
	$(MAKE) --no-print-directory .venv/installed-dev
	PYTHONPATH=tests $(BIN)/python tests/golden.py
	$(BIN)/python docs/picture.py
	$(BIN)/python docs/tables.py
	$(BIN)/python bench/plot.py

clean:
	rm -rf .venv build out .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find python tests bench -name __pycache__ -prune -exec rm -rf {} +
	find python -name '*.so' -delete

packages:
	@.ci/packages $(PYTHON)

.venv/environment: | packages
	$(PYTHON) -m venv .venv
	$(PIP_INSTALL) $(BUILD_REQUIRES)
	touch $@

# The build requirements live in .venv and the build tree is kept, so that a second install compiles only what changed.
INSTALL = PATH="$(CURDIR)/$(BIN):$$PATH" $(PIP_INSTALL) --no-build-isolation \
    --config-settings=build-dir=build/wheel --config-settings=cmake.define.GATECELL_WERROR=$(WERROR)

.venv/installed: .venv/environment $(SOURCES)
	$(INSTALL) ".[demo]"
	touch $@

.venv/installed-dev: .venv/environment $(SOURCES)
	$(INSTALL) ".[dev]"
	touch .venv/installed $@
