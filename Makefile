# Every target does the set-up that it needs; a second run does nothing that is already done.
# `make check` is what CI runs, in the same order.

PYTHON ?= python3
UV ?= uv
WORKERS ?= 2
# More testers than cores, as some tests mostly wait. A file stays with one of them, and so do the servers that it starts.
TESTERS ?= 4
MINUTES ?= 5

VENV := .venv/.installed
VENV313 := .venv313/.installed
SAM := .tools/sam/.installed
CHECKOV := .tools/checkov/.installed
BIN := .venv/bin
PYTHON313 := $(shell sh tools/find-python 3.13)

CODE := functions layers/amtsbote sandbox console tools
PRESENT = $(wildcard $(CODE) tests benchmarks)

.DEFAULT_GOAL := check
.PHONY: setup demo up console screenshots soak bench simulate mutants test test-313 test-all lint types template sbom figures check lock clean

setup: $(VENV) $(SAM)

# make demo STAY=1 leaves it running, with the operator's console
demo: setup
	$(BIN)/python -m sandbox demo $(if $(STAY),--stay)

up: setup
	$(BIN)/python -m sandbox up

# make console ARGS="--stack amtsbote --profile operator"
console: $(VENV)
	$(BIN)/python -m console $(ARGS)

# The pictures of docs/images, made anew by the tests in a real browser.
screenshots: setup
	AMTSBOTE_SCREENSHOTS=1 $(BIN)/python -m pytest tests/browser -k picture

soak: setup
	$(BIN)/python -m sandbox soak --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

test: setup
	$(BIN)/python -m pytest -n $(TESTERS) --dist loadfile --no-loadscope-reorder --durations 25

# What runs the functions' code in one process: the rest tests the template, the tools and the sandbox, or takes minutes.
ON_313 := tests/unit tests/properties tests/handlers tests/flows/test_duba_inbound.py

test-313: $(SAM) $(if $(PYTHON313),$(VENV313))
ifneq ($(PYTHON313),)
	.venv313/bin/python -m pytest -n $(TESTERS) --dist loadfile --no-loadscope-reorder -m "not once" $(ON_313)
else
	@echo "test-313: there is no Python 3.13 here, so the tests did not run on it"
endif

test-all:
	$(MAKE) test
	$(MAKE) test-313

# make simulate SEEDS=10000, make simulate SEED=4711 [PORTAL=duba]
SEEDS ?= 500
simulate: $(VENV)
	PYTHONPATH=layers/amtsbote:. $(BIN)/python -m tests.simulation --workers $(WORKERS) \
	    $(if $(SEED),--seed $(SEED),--seeds $(SEEDS)) $(if $(PORTAL),--portal $(PORTAL)) $(if $(JSON),--json $(JSON))

# Mistakes made on purpose in a copy of the code; the simulation must catch each. make mutants ONLY=lease
mutants: $(VENV)
	PYTHONPATH=layers/amtsbote:. $(BIN)/python -m tests.simulation.mutants --workers $(WORKERS) $(if $(ONLY),--only "$(ONLY)")

# Everything that is promised about speed, against what people use instead: a quarter of an hour. make bench ONLY=idle_poll
RUNS ?= 3
bench: setup $(if $(PYTHON313),$(VENV313))
ifeq ($(ONLY),)
	PYTHONPATH=layers/amtsbote:. $(BIN)/python -m benchmarks.cost
endif
	PYTHONPATH=layers/amtsbote:. $(BIN)/python -m benchmarks --runs $(RUNS) $(if $(ONLY),--only $(ONLY))

lint: $(VENV)
	$(BIN)/ruff check $(PRESENT)
	$(BIN)/ruff format --check $(PRESENT)

types: $(VENV)
	$(BIN)/mypy $(PRESENT)

template: setup $(CHECKOV)
	.tools/sam/bin/sam validate --lint --template-file template.yaml --region eu-central-1
	$(BIN)/python -m tests.template.scans

# What the layers hold: packages, versions, hashes, licences. Any scanner of vulnerabilities reads it.
sbom: $(VENV)
	$(BIN)/python tools/bill_of_materials.py build/sbom.json

figures: $(VENV)
	$(BIN)/python tools/figures.py

# The environments are made side by side, as that is mostly waiting for a disk.
check:
	$(MAKE) --jobs 4 $(VENV) $(SAM) $(CHECKOV) $(if $(PYTHON313),$(VENV313))
	$(MAKE) lint
	$(MAKE) types
	$(MAKE) test-all
	$(MAKE) simulate
	$(MAKE) template
	$(MAKE) figures

# Locks the newest versions that resolve together. Review what changed before you commit it.
# uv is not part of the set-up: make lock UV=<where it is>.
LOCK := $(UV) pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
        --no-strip-extras --no-emit-index-url --no-emit-find-links --no-header
lock:
	$(LOCK) layers/dependencies/requirements.in -o layers/dependencies/requirements.txt
	$(LOCK) requirements/dev.in --constraints layers/dependencies/requirements.txt -o requirements/dev.txt
	$(LOCK) layers/cryptography/requirements.in --constraints requirements/dev.txt -o layers/cryptography/requirements.txt
	$(LOCK) requirements/sam.in -o requirements/sam.txt
	$(LOCK) requirements/checkov.in -o requirements/checkov.txt
	$(PYTHON) tools/repeat_without_extras.py requirements/sam.txt requirements/checkov.txt
	$(MAKE) $(VENV)
	$(BIN)/python -m tools.api_models

clean:
	rm -rf .venv .venv313 .tools .aws-sam build .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV): requirements/dev.txt
	$(PYTHON) tools/environment.py .venv requirements/dev.txt
	touch $@

$(VENV313): requirements/dev.txt
	$(PYTHON313) tools/environment.py .venv313 requirements/dev.txt
	touch $@

$(SAM): requirements/sam.txt
	$(PYTHON) tools/environment.py .tools/sam requirements/sam.txt
	touch $@

$(CHECKOV): requirements/checkov.txt
	$(PYTHON) tools/environment.py .tools/checkov requirements/checkov.txt
	touch $@
