PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
NEWEST := .venv-newest
# The torch of `make test-newest`; TORCH=torch takes the newest, on Linux with several GB of CUDA.
TORCH ?= $(shell grep '^torch==' constraints.txt)
# How many parts of a check run at once.
JOBS ?= 2

PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# uv installs the same files several times faster. Where it isn't there, pip does.
UV := $(shell command -v uv 2> /dev/null)
INSTALL := $(if $(UV),$(UV) pip install --quiet --python $(BIN)/python,$(PIP) --no-compile)

# What isn't compiled when it is installed, which would take as long again, is when it is first imported, and kept.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo check test test-newest docs lock clean part-torch part-units part-integration part-types part-lint

# Sets up the environment and the starter model, cleans the demo data, compares with its gold labels and reports.
demo: $(VENV)/run.ready
	mkdir -p demo/out
	$(BIN)/arhn clean demo/groups.jsonl -o demo/out/cleaned.jsonl --overwrite
	$(BIN)/python -m demo.compare demo/out/cleaned.decisions.jsonl demo/gold.jsonl
	$(BIN)/arhn report demo/out/cleaned.jsonl --gold demo/gold.jsonl --overwrite

# Sets up the environment and runs lint, types and unit tests, these with fewer invented examples than `make test`.
check: export HYPOTHESIS_PROFILE := quick
check: $(VENV)/dev.ready
	$(call at_once,$(VENV),$(UNITS))

# Sets up the environment and runs every check: lint, types, tests (a real small model included).
test: $(VENV)/dev.ready
	$(call at_once,$(VENV),part-integration $(UNITS))
	$(call model,$(BIN))

# The same with the newest release of everything but torch, in an environment of its own. docs/log has what fails.
test-newest:
	[ -x $(NEWEST)/bin/python ] || $(PYTHON) -m venv $(NEWEST)
	$(NEWEST)/bin/python -m pip install --quiet --disable-pip-version-check \
		--upgrade --upgrade-strategy eager -e '.[dev]' '$(TORCH)'
	$(call at_once,$(NEWEST),part-integration $(UNITS))
	$(call model,$(NEWEST)/bin)

# The longest first.
UNITS := part-torch part-units part-types part-lint
# These are one process, for loading torch and what is built on it takes longer than most tests.
TORCH_TESTS := $(addprefix tests/unit/,evaluate mine retrieval train)

at_once = $(MAKE) --no-print-directory --keep-going --jobs $(JOBS) VENV=$(1) $(2)

part-torch:
	$(call report,$(BIN)/pytest $(TORCH_TESTS))

part-units:
	$(call report,$(BIN)/pytest tests/unit $(TORCH_TESTS:%=--ignore=%))

part-integration:
	$(call report,$(BIN)/pytest -m 'not model' tests/integration)

part-types:
	$(call report,$(BIN)/mypy)

part-lint:
	$(call report,$(BIN)/ruff check . && $(BIN)/ruff format --check .)

# In one piece once it is done, for others run at the same time.
define report
@echo "$(1)"
@{ $(1); } > $(VENV)/$@.log 2>&1; status=$$?; printf '\n== %s\n' "$(1)"; cat $(VENV)/$@.log; exit $$status
endef

# By itself: the threads of the model wait for each other, and for every core that other tests use.
define model
$(1)/pytest -m model tests/integration
endef

# Everything but torch is what the locks say, by hash. arhn itself is built by what they hold, too.
$(VENV)/run.ready: locks/run.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	$(INSTALL) --require-hashes --no-deps -r locks/run.txt
	$(INSTALL) --no-deps --no-build-isolation -e .
	touch $@

# torch is installed by pip, which may know of builds that uv doesn't; what it needs besides CUDA is there already.
$(VENV)/dev.ready: $(VENV)/run.ready locks/dev.txt constraints.txt
	$(INSTALL) --require-hashes --no-deps -r locks/dev.txt
	$(PIP) --no-compile -c constraints.txt torch
	$(BIN)/python -c 'import accelerate, datasets, matplotlib.pyplot, mteb, peft, ray, sentence_transformers'
	$(BROWSER)
	touch $@

# Tests of pages need Chromium, and are skipped without it. It is installed where that can be done without asking.
BROWSER = command -v chromium > /dev/null || command -v google-chrome > /dev/null || { [ "$$(id -u)" = 0 ] \
	&& { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; } > /dev/null 2>&1; } \
	|| echo 'No Chromium: tests of pages are skipped. Install it to run them'

# Resolves anew, to the newest that works together (needs uv). One file is for all versions of Python and all systems.
COMPILE = uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	--custom-compile-command 'make lock' --excludes locks/unlocked.txt --no-emit-package torch \
	pyproject.toml locks/build.in
lock:
	$(COMPILE) --extra dev -c constraints.txt -o locks/dev.txt
	$(COMPILE) --extra report -c locks/dev.txt -o locks/run.txt

# Builds the site of docs/ into site/: a link that leads nowhere fails. A test of `make test` builds it, too.
docs: $(VENV)/dev.ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

clean:
	rm -rf $(VENV) $(NEWEST) demo/out bench/out site
