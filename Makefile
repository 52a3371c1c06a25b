# Everything a developer does: `make help`. A fresh machine needs python3 (3.10 to 3.12), make and git.
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# `make install CONSTRAINTS=constraints.txt` installs the exact versions that the tests pass with.
CONSTRAINTS ?=

# A waiting OpenMP thread must not hold a core that another process wants.
export OMP_WAIT_POLICY = PASSIVE

.PHONY: help install constraints demo test test-slow test-order golden coverage lint types bench docs wheel-check clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(STAMP)  ## make .venv and install the package with what development needs

$(STAMP): pyproject.toml $(CONSTRAINTS)
	@found=; \
	for candidate in $(PYTHON) python3 python3.12 python3.11 python3.10; do \
		if $$candidate -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 13))' 2>/dev/null; then \
			found=$$candidate; break; \
		fi; \
	done; \
	if [ -z "$$found" ]; then \
		echo "speech2lip needs Python 3.10, 3.11 or 3.12; none was found (python3 is: $$(python3 --version 2>&1)). Install one, or name it: make PYTHON=/path/to/python3.12" >&2; \
		exit 1; \
	fi; \
	if ! $$found -c 'import venv, ensurepip' 2>/dev/null; then \
		echo "$$found has no venv module; on Debian and Ubuntu: sudo apt-get install python3-venv" >&2; \
		exit 1; \
	fi; \
	$$found -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet $(if $(CONSTRAINTS),-c $(CONSTRAINTS)) -e '.[dev]'
	@touch $@

constraints: $(STAMP)  ## write the versions that are installed to constraints.txt
	{ sed -n '/^#/p' constraints.txt; \
		$(BIN)/python -m pip freeze --disable-pip-version-check --exclude-editable | sed 's/+cpu$$//'; } > constraints.part
	mv constraints.part constraints.txt

demo: $(STAMP)  ## the whole journey on the made presenter, results in demo/
	$(BIN)/speech2lip demo

test: $(STAMP)  ## the tests that are quick
	$(BIN)/python -m pytest -m "not slow"

test-slow: $(STAMP)  ## the tests that take minutes
	$(BIN)/python -m pytest -m slow -o faulthandler_timeout=1800

test-order: $(STAMP)  ## the quick tests in a random order and with other examples (the seed is told at the top)
	$(BIN)/python -m pytest -m "not slow" --random-order --hypothesis-profile=default

golden: $(STAMP)  ## renew the golden figures of the made presenter, tests/golden/presenter.txt
	$(BIN)/python -m tests.golden

coverage: $(STAMP)  ## the quick tests, and the share of lines that they run
	$(BIN)/python -m pytest -m "not slow" --cov --cov-report=term

lint: $(STAMP)  ## style; the layers of the package; what the workflow and CITATION.cff may say
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/yamllint --strict .github .pre-commit-config.yaml CITATION.cff
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.citation-file-format CITATION.cff

types: $(STAMP)  ## static types
	$(BIN)/mypy

bench: $(STAMP)  ## the benchmark tables (real footage is read from the folder named by SPEECH2LIP_DATA)
	$(BIN)/python -m benchmarks quality

docs: $(STAMP)  ## renew the generated command reference
	$(BIN)/python -m tools.cli_reference > docs/commands.md

wheel-check: $(STAMP)  ## build the wheel, install it outside the checkout and run it there
	rm -rf dist
	$(BIN)/python -m build --wheel --outdir dist
	folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && wheel=$$(ls $(CURDIR)/dist/*.whl) \
		&& $(BIN)/python -m venv "$$folder/venv" && cd "$$folder" \
		&& venv/bin/pip install --disable-pip-version-check --quiet "$$wheel" \
		&& venv/bin/speech2lip --version && venv/bin/speech2lip doctor

clean:  ## remove what was made here (not demo/)
	rm -rf $(VENV) dist build .pytest_cache .coverage .mypy_cache .ruff_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
