# Dailies. `make help` lists the commands. They need Python 3.11 or newer, pip and make, and nothing else.
#
#   PYTHON=python3.12                     the interpreter that makes .venv
#   VENV_FLAGS=--system-site-packages     to use a torch that the machine already has (ROCm containers)
#   TORCH_INDEX_URL=https://...           package index of torch and torchvision, if .venv has none yet
#   PORT=7860 HOST=127.0.0.1              address of the page that `make app` serves
#   ONLY="nft dpo"                        proofs that `make proof` runs
#   ARGS="..."                            passed on to pytest by `make test`, `make slow` and `make browser`, and to `make tour`
#   WORKERS=2                             test processes; all tests of a file run in the same process
#   DEV=dev,ray                           extras of pyproject.toml that development uses; with `ray` its tests run

PYTHON ?= python3
VENV ?= .venv
VENV_FLAGS ?=
TORCH_INDEX_URL ?=
HOST ?= 127.0.0.1
PORT ?= 7860
ARGS ?=
WORKERS ?= 2
ONLY ?=
DEV ?= dev

SHELL := /bin/sh
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# torch's threads otherwise burn their time slices waiting for each other when the cores are busy: measured on two cores
# with a load of 14, a clip took 8 s with this and over 100 s without; on idle cores there is no difference.
export OMP_WAIT_POLICY ?= PASSIVE

python := $(VENV)/bin/python
# A file's tests stay in one process: fixtures of a session, such as a running page, are then made once a file. Files
# run in their order; by number of tests, long ones of few tests would come last, when other processes have no work.
pytest = OMP_NUM_THREADS=1 $(python) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder
pip := $(python) -m pip
scripts := 'app/**/*.js' 'examples/**/*.js'
# The stamp's name contains the checksum of these two files, so a change of either causes a new installation.
key := $(shell cat pyproject.toml constraints.txt | cksum | cut -d ' ' -f 1)
installed := $(VENV)/.installed-$(key)
installed_dev := $(VENV)/.installed-$(DEV)-$(key)

.PHONY: help venv install install-dev app demo tour test slow coverage browser doubles faults check fix docs bench proof matrix mini clean

help: ## list the commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F '|' '{ printf "%-18s %s\n", $$1, $$2 }'

app: install ## install if needed, then serve the workbench on http://127.0.0.1:7860
	@echo "Starting the page on http://$(HOST):$(PORT) (Ctrl-C stops it; jobs continue)"
	@exec $(VENV)/bin/dailies serve --host $(HOST) --port $(PORT)

demo: install ## generate and score a clip without a browser, and print the paths of its files
	@$(VENV)/bin/dailies demo

tour: install ## run the whole workflow on mini and write build/tour/report.html (30 minutes; 3 minutes with ARGS=--short)
	@$(python) -m examples.tour $(ARGS)

test: install-dev ## install if needed, then run the tests except slow and browser tests
	@$(pytest) $(ARGS)

slow: install-dev ## run the slow tests, among them short forms of `make faults`, `make proof` and `make tour`
	@$(pytest) -m slow $(ARGS)

coverage: install-dev ## run `make test` and `make slow` and report line coverage, child processes included
	@$(pytest) -q -m "not browser" --cov=engine --cov=rewards --cov-report=term:skip-covered $(ARGS)

browser: install-dev ## run the browser tests in Chromium
	@$(pytest) -m browser tests/browser $(ARGS)

doubles: install-dev ## test every family on small models of its classes and write the table in docs/models.md (ARGS="-k wan": only some)
	@OMP_NUM_THREADS=1 $(python) -m tests.doubles -n $(WORKERS) $(ARGS)

faults: install-dev ## kill workers and trainings at 100 random moments and check that nothing is lost (1 hour); prints JSON lines
	@$(python) tests/faults/kill_storm.py $(ARGS)

check: install-dev ## check formatting, lint, types, import rules and documentation
	@$(python) -m ruff format --check .
	@$(python) -m ruff check .
	@$(VENV)/bin/oxfmt --check $(scripts)
	@$(VENV)/bin/oxlint app examples
	@rm -f app/components/*.pyi # gradio writes them when it is imported; mypy would read them instead of our code
	@$(python) -m mypy
	@$(VENV)/bin/lint-imports --no-logo
	@NO_MKDOCS_2_WARNING=1 $(python) -m mkdocs build --strict --quiet

fix: install-dev ## format the code and apply the linter's fixes
	@$(python) -m ruff format .
	@$(python) -m ruff check --fix .
	@$(VENV)/bin/oxfmt $(scripts)
	@$(VENV)/bin/oxlint --fix app examples

docs: install ## generate the pages and tables of docs/ and the page's copy of the trainer settings
	@OMP_NUM_THREADS=1 $(python) -m tools.docs.trainer_settings
	@$(python) -m tools.docs.page_tables
	@$(python) -m tools.docs.configuration_page
	@$(python) -m tools.docs.cli_page

bench: install-dev ## run the speed benchmarks; prints JSON lines
	@$(python) tests/benchmarks/run.py

proof: install ## train mini by every algorithm and measure the improvement (hours; ONLY=nft: one); prints JSON lines
	@$(python) tests/proof/run.py $(ONLY)

matrix: install ## measure every reward on perturbed reference clips and write docs/rewards-matrix.md (minutes)
	@$(python) -m engine.cli rewards matrix --write docs/rewards-matrix.md

mini: install ## train and evaluate the embedded model (hours on a CPU; five minutes on a GPU with ARGS="--device cuda --data 3 --scale 16 --workers 12 --dit-steps 100000 --minutes 5")
	@$(python) -m tools.mini.train $(ARGS)
	@$(python) -m tools.mini.evaluate --out assets/mini/metrics.json

venv: $(VENV)/.pip ## create an empty .venv, to install your own torch first (ROCm)

install: $(if $(wildcard $(installed_dev)),,$(installed))

install-dev: $(installed_dev)

clean: ## remove .venv and all caches; workspaces are kept
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis htmlcov .coverage *.egg-info
	find app engine rewards tools examples tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.pip:
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else \
	  "Dailies needs Python 3.11 or newer, but $(PYTHON) is " + sys.version.split()[0] + ": set PYTHON=python3.11")'
	@$(python) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV_FLAGS) $(VENV)
	$(pip) install --quiet --upgrade pip
	@touch $@

# torch and torchvision are a matched pair. What is there stays: its exact versions are constraints of what follows.
$(VENV)/.torch: $(VENV)/.pip
	@$(python) -c 'import torch' 2>/dev/null || \
	  $(pip) install $(if $(TORCH_INDEX_URL),--index-url $(TORCH_INDEX_URL)) torch torchvision
	@touch $@

define install
@$(python) -c 'from importlib import metadata as m; \
  [print(d.name + "==" + d.version) for d in m.distributions() if d.name in ("torch", "torchvision")]' >$(VENV)/torch.txt
PYTHONWARNINGS=ignore $(pip) install --quiet -c constraints.txt -c $(VENV)/torch.txt -e '$(1)'
@rm -f $(VENV)/.installed-*
@touch $@
endef

$(installed): | $(VENV)/.torch
	$(call install,.)

$(installed_dev): | $(VENV)/.torch
	$(call install,.[$(DEV)])
