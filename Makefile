PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test docs clean

# Sets up the environment and the starter model, cleans the demo data and compares with its gold labels.
demo: $(VENV)/run.ready
	mkdir -p demo/out
	$(BIN)/arhn clean demo/groups.jsonl -o demo/out/cleaned.jsonl --overwrite
	$(BIN)/python -m demo.compare demo/out/cleaned.decisions.jsonl demo/gold.jsonl

# Sets up the environment and runs every check: lint, types, tests (a real small model included).
test: $(VENV)/dev.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest

$(VENV)/run.ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/dev.ready: $(VENV)/run.ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

# Builds the site of docs/ into site/: a link that leads nowhere fails. A test of `make test` builds it, too.
docs: $(VENV)/docs.ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

$(VENV)/docs.ready: $(VENV)/run.ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) demo/out bench/out site
