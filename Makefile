# `make help` lists what there is. PYTHON chooses the interpreter, VENV the folder of its virtual environment:
#     make test PYTHON=python3.13 VENV=.venv-3.13
#
# The package is installed editable, its native parts built beside their sources: what is tested is the tree in front of
# you, and an edit of a .py file needs no step at all. That a wheel works as well is tested in tests/packaging, and by
# .ci/run, which installs one on each interpreter.

PYTHON ?= python3
VENV ?= .venv
PYTEST_ARGS ?=
export MPLBACKEND = agg
bin := $(VENV)/bin
pip := $(bin)/python -m pip install --quiet --disable-pip-version-check
native := setup.py $(wildcard csrc/*/*.[ch] csrc/layout/*.py csrc/layout/*.inc src/meminspect/*.pyx src/meminspect/native/*.pxi)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help report test cpython-tests lint format bench docs clean

help: ## list these commands
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## /  make \1|/' | column -t -s '|'

report: $(VENV)/.core ## set up, build, and report on this interpreter
	@$(bin)/python -m meminspect report

test: $(VENV)/.installed ## set up, build, and run all tests (PYTEST_ARGS=... to choose)
	@$(bin)/python -m pytest $(PYTEST_ARGS)

cpython-tests: $(VENV)/.installed ## CPython's own tests of threads and forks, with the GIL traced and without (minutes)
	@MEMINSPECT_CPYTHON_TESTS=all $(bin)/python -m pytest -v -s tests/robustness/test_cpython_tests.py

lint: $(VENV)/.dev ## formatting, types, and a build with warnings as errors
	@status=0; \
	check() { echo "lint: $$*"; "$$@" || status=1; }; \
	check $(bin)/ruff check --output-format concise .; \
	check $(bin)/ruff format --check .; \
	check $(bin)/mypy; \
	check $(bin)/clang-format --dry-run --Werror $$(git ls-files 'csrc/*.[ch]'); \
	check env MEMINSPECT_WERROR=1 $(bin)/python setup.py --quiet build_ext --force --build-lib build/lint --build-temp build/lint/temp; \
	exit $$status

format: $(VENV)/.dev ## put Python and C into the project's form
	@$(bin)/ruff check --fix --quiet . || true
	@$(bin)/ruff format .
	@$(bin)/clang-format -i $$(git ls-files 'csrc/*.[ch]')

bench: $(VENV)/.bench ## run each benchmark and print its table
	@$(bin)/python -m bench

docs: $(VENV)/.docs ## build the documentation into docs/_build
	@$(bin)/sphinx-build -W --keep-going -q -b html docs docs/_build/html
	@echo "docs: docs/_build/html/index.html"

clean: ## remove all that was made here
	@rm -rf build dist docs/_build docs/notebooks bench/results .pytest_cache .mypy_cache .ruff_cache .hypothesis src/*.egg-info
	@rm -rf $(VENV)
	@find src -name '*.so' -delete
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The steps of the set-up. Each leaves a stamp, so that a second `make test` begins with the tests.

$(VENV)/.made: pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) was not found: apt-get install python3, or PYTHON=... names another"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: meminspect needs Python 3.11 or later: PYTHON=... names another"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "make: $(PYTHON) has no venv module: apt-get install python3-venv"; exit 1; }
	@test -x $(bin)/python || { echo "Making the environment $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@$(bin)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' > $(VENV)/build.txt
	@$(pip) --requirement $(VENV)/build.txt
	@touch $@

$(VENV)/.built: $(VENV)/.made $(native)
	@echo "Building the native parts"
	@$(bin)/python setup.py --quiet build_ext --inplace
	@touch $@

$(VENV)/.core: $(VENV)/.built pyproject.toml
	@test $@ -nt pyproject.toml || { echo "Installing"; $(pip) --no-build-isolation --editable .; }
	@touch $@

$(VENV)/.installed: $(VENV)/.core pyproject.toml
	@test $@ -nt pyproject.toml || { echo "Installing what the tests need"; $(pip) --no-build-isolation --editable ".[$$($(bin)/python -c 'import sysconfig; print("test-free-threaded" if sysconfig.get_config_var("Py_GIL_DISABLED") else "test")')]"; }
	@touch $@

$(VENV)/.dev $(VENV)/.bench $(VENV)/.docs: $(VENV)/.%: $(VENV)/.installed
	@test $@ -nt pyproject.toml || $(pip) --no-build-isolation --editable '.[$*]'
	@touch $@
