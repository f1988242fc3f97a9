# Two commands are all a user needs: `make demo` and `make test`.
PYTHON ?= python3
# Commands that tests start compile our sources once, whatever the shell asks for.
export PYTHONDONTWRITEBYTECODE =
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-cuda test-deploy test-slow lint pages docs bench bench-audit bench-deploy bench-dicom bench-engine bench-epsilon bench-heterogeneity bench-images bench-leakage bench-poisoning bench-privacy bench-published bench-robust bench-scanners bench-secagg bench-selection bench-sketches bench-topologies bench-tuning clean

help: ## what each target does
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

# torch first: asked for by itself and by version, pip takes the CPU build where there is one.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "securefl needs Python 3.11 or newer")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $$(grep '^torch==' constraints.txt)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

setup: $(STAMP) ## make .venv with the tested versions

demo: setup ## run the whole toolkit on four hospitals' data, offline, under a minute
	$(BIN)/securefl demo

lint: setup ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint ## everything that must be green: lint, types, tests (under 10 minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

test-cuda: setup ## tests that need a GPU; without one they are skipped
	$(BIN)/python -m pytest -m cuda

# Flower in an environment of its own, without torch.
.venv-deploy/.installed: constraints-flower.txt
	$(PYTHON) -m venv .venv-deploy
	.venv-deploy/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-flower.txt flwr==1.42.0
	touch $@

# A network of its own with loopback only, where this account may make one.
ALONE = $(shell unshare -n true 2>/dev/null && echo unshare -n)

test-deploy: setup .venv-deploy/.installed ## the deployment over Flower, through faults, without a network (under 30 minutes)
	OMP_NUM_THREADS=1 SECUREFL_FLOWER=.venv-deploy/bin $(ALONE) sh -c 'ip link set lo up; exec $(BIN)/python -m pytest -m deploy tests/deploy'

test-slow: setup ## the long suites, and a smoke test under the second set of versions (under an hour)
	$(PYTHON) -m venv .venv-flower
	.venv-flower/bin/python -m pip install --quiet --disable-pip-version-check $$(grep '^torch==' constraints.txt)
	.venv-flower/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-flower.txt -e '.[dev]'
	rm -rf .venv-flower/smoke-demo && cd .venv-flower && bin/securefl demo --out smoke-demo
	.venv-flower/bin/python -m pytest tests/ui/test_cli.py tests/ui/test_run.py tests/scenario/test_scenario.py
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,ray]'
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m slow

pages: setup ## the pages that are made from docstrings
	$(BIN)/python -m securefl.scenario.page > docs/scenario.md
	$(BIN)/python -m securefl.ui.page > docs/cli.md
	$(BIN)/python -m defenses.page > docs/rules.md
	$(BIN)/python -m securefl.privacy.lint.page > docs/mistakes.md

# The generator of the site in an environment of its own. It reads our sources, and imports none.
.venv-docs/.installed: website/requirements.txt
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	touch $@

SITE := build/website

docs: .venv-docs/.installed ## the documentation as a site in build/website/site; any warning or broken link fails (under a minute)
	rm -rf $(SITE)
	.venv-docs/bin/python -m website.stage $(SITE)
	.venv-docs/bin/zensical build --strict --config-file $(SITE)/zensical.toml
	.venv-docs/bin/python -m website.check $(SITE)/site

bench: setup ## the studies of docs/results (under 10 minutes; goes on where it stopped)
	$(BIN)/securefl bench privacy-utility --out runs/privacy-utility
	$(BIN)/securefl bench robustness --out runs/robustness
	$(BIN)/securefl bench leave-one-hospital-out --out runs/leave-one-hospital-out
	$(BIN)/python -m benchmarks.publish runs/privacy-utility runs/robustness runs/leave-one-hospital-out

bench-tuning: setup ## the learning rates of privacy-utility, on validation records (about 30 minutes)
	$(BIN)/securefl bench benchmarks/studies/tuning/heart-learning-rates.toml --out runs/heart-learning-rates
	$(BIN)/securefl bench benchmarks/studies/tuning/digits-learning-rates.toml --out runs/digits-learning-rates
	$(BIN)/python -m benchmarks.publish runs/heart-learning-rates runs/digits-learning-rates

bench-audit: setup ## what audits find, on correct and on broken code; SECUREFL_DATA as above (about 30 minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.experiments.audits --write docs/results
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.experiments.adversaries --write docs/results

bench-leakage: setup ## records, labels, a property and sources from updates; SECUREFL_DATA as above (about 10 minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.experiments.leakage --write docs

# Each peer of the engine has an environment of its own. torch first, as above.
.venv-%/.installed: benchmarks/speed/peers-%.txt
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check $$(grep '^torch==' $<)
	.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	touch $@

bench-engine: setup .venv-flower-sim/.installed .venv-pfl/.installed .venv-fluke/.installed ## rounds next to a loop and to three peers, clipped sums next to Opacus' hooks, growth with the clients (about an hour)
	$(BIN)/python -m benchmarks.speed.engine
	$(BIN)/python -m benchmarks.speed.engine_peers --out docs/results/engine
	$(BIN)/python -m benchmarks.speed.clipping
	$(BIN)/python -m benchmarks.speed.where
	$(BIN)/python -m benchmarks.speed.scaling

bench-deploy: setup .venv-flower-deployed/.installed ## rounds between real processes, over both links, next to Flower's FedAvg (about half an hour)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.speed.deployed --out docs/results/deploy

bench-heterogeneity: setup ## algorithms for unlike hospitals, each tuned (about 10 minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.experiments.heterogeneity --write docs/results

bench-sketches: setup ## what sketches of updates show, and how well rules choose by them (about 5 minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.experiments.sketches --write docs/results

bench-selection: setup ## rules that choose under one masked sum, next to rows, among liars (under an hour)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.experiments.selection --write docs/results

bench-topologies: setup ## peers under attack, sites in turn, regions, no lockstep, each tuned (about 25 minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.experiments.topologies --write docs

bench-epsilon: setup ## epsilon beside other accountants, over 30 settings (about 3 minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.experiments.accountants --write docs/results

bench-images: setup ## the study of medical images; SECUREFL_DATA names the folder of the MedMNIST files (about 20 minutes)
	$(BIN)/securefl bench images --out runs/images
	$(BIN)/python -m benchmarks.publish runs/images

bench-published: setup ## the published training on MedMNIST with a narrow net; SECUREFL_DATA as above (about 15 minutes; the full net: --long)
	$(BIN)/securefl bench published --out runs/published
	$(BIN)/python -m benchmarks.publish runs/published

bench-poisoning: setup ## eight defences against seven attacks; SECUREFL_DATA as above (about 40 minutes)
	$(BIN)/securefl bench poisoning --out runs/poisoning
	$(BIN)/securefl bench backdoor --out runs/backdoor
	$(BIN)/python -m benchmarks.publish runs/poisoning runs/backdoor

bench-privacy: setup ## noise in three places on six data sets, and more hospitals; SECUREFL_DATA as above (about 40 minutes)
	$(BIN)/securefl bench medical-privacy --out runs/medical-privacy
	$(BIN)/securefl bench number-of-hospitals --out runs/number-of-hospitals
	$(BIN)/python -m benchmarks.publish runs/medical-privacy runs/number-of-hospitals
	$(BIN)/python -m benchmarks.experiments.medical_privacy runs/medical-privacy --write docs/results
	$(BIN)/python -m benchmarks.experiments.medical_figures

bench-scanners: setup ## unlike scanners, record-local steps and ComBat; SECUREFL_DATA as above (about 10 minutes)
	$(BIN)/securefl bench scanners --out runs/scanners
	$(BIN)/python -m benchmarks.publish runs/scanners
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.experiments.site_effect --write docs/results
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.experiments.combat --write docs/results

bench-dicom: setup ## the time and memory of reading 1,000 DICOM files (under a minute)
	$(BIN)/python -m benchmarks.speed.dicom

bench-robust: setup ## the robust rules beside ByzFL's and Flower's, each in its own environment (about 10 minutes)
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/speed/peers.txt
	$(BIN)/python -m benchmarks.speed.rules --peer .venv-peers/bin/python --out docs/results/rules

bench-secagg: setup ## masks beside Flower's SecAgg+, each in its own environment, and CKKS beside TenSEAL (about 25 minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.speed.ckks --out docs/results/ckks
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/speed/peers.txt
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.speed.secagg --peer .venv-peers/bin/python --out docs/results/secagg

clean: ## remove the environments and caches
	rm -rf .venv .venv-deploy .venv-docs .venv-flower .venv-peers .venv-flower-deployed .venv-flower-sim .venv-pfl .venv-fluke .mypy_cache .pytest_cache .ruff_cache build *.egg-info
