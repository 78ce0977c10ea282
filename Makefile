# The two commands of a new user are `make run` and `make test`; each sets up .venv by itself.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
METAWORLD := .venv-metaworld
RAY := .venv-ray
RESULTS ?= outputs/bench

.DEFAULT_GOAL := help
.PHONY: help run test quick test-slow test-metaworld test-ray test-browser torture check bench tables readme clean

help: ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

run: $(INSTALLED) ## train the default experiment: 2D navigation, second-order MAML, TRPO (two minutes on idle cores)
	$(BIN)/metarl-train

test: check ## install, lint, check types, run the fast tests
	$(BIN)/pytest -n 2

quick: $(INSTALLED) ## run the tests of the mathematics alone: half a minute
	$(BIN)/pytest -n 2 tests/maths tests/policy tests/algorithm/derivatives tests/algorithm/outer_optimizer \
	  tests/algorithm/test_adaptation.py tests/algorithm/test_advantage.py tests/algorithm/test_inner_optimizer.py

test-slow: $(INSTALLED) ## run the tests that train for minutes
	$(BIN)/pytest -m slow

test-metaworld: $(METAWORLD)/.installed ## run the tests of Meta-World, in an environment of its own
	$(METAWORLD)/bin/pytest -m metaworld tests/metaworld tests/test_comparators.py

test-ray: $(RAY)/.installed ## run sweeps on a local Ray cluster, in an environment of their own
	$(RAY)/bin/pytest -m ray tests/launchers/test_ray.py

test-browser: $(INSTALLED) ## open a report in Chromium, which must be installed
	@command -v chromium >/dev/null || { echo "make test-browser needs chromium (apt-get install chromium)" >&2; exit 1; }
	$(BIN)/pytest -m browser

torture: $(INSTALLED) ## kill, damage and starve runs in every way that docs/survives.md counts, and count again
	$(BIN)/pytest -n 2 -m 'torture or not torture' tests/torture --tally benchmarks/results/torture.json
	$(MAKE) readme

check: $(INSTALLED) ## lint and types only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

bench: $(INSTALLED) ## what a meta-iteration costs in many settings, and how it scales (a quarter of an hour on an idle machine)
	$(BIN)/python benchmarks/iterations.py --output $(RESULTS)/iterations.json
	$(BIN)/python benchmarks/scaling.py --output $(RESULTS)/scaling.json

tables: $(INSTALLED) ## render every table and figure again, from stored results, and the pages that show them
	$(BIN)/metarl-table --stored
	$(BIN)/metarl-classical experiments/duan2016/bandits.yaml
	$(BIN)/metarl-classical experiments/duan2016/mdps.yaml
	$(BIN)/metarl-laboratory experiments/estimators/settings.yaml --render
	$(MAKE) readme

readme: $(INSTALLED) ## put the stored results into the pages that show them
	$(BIN)/python docs/render.py

clean: ## remove the environment and caches, not the outputs
	rm -rf $(VENV) $(METAWORLD) $(RAY) .pytest_cache .ruff_cache build dist

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

# Meta-World pins another MuJoCo than the one that everything else is tested with.
$(METAWORLD)/.installed: pyproject.toml constraints-metaworld.txt
	$(PYTHON) -m venv $(METAWORLD)
	$(METAWORLD)/bin/python -m pip install --quiet --constraint constraints-metaworld.txt --editable '.[metaworld]' pytest
	touch $@

# Hydra's launcher for Ray wants an older cloudpickle than everything else is tested with.
$(RAY)/.installed: pyproject.toml constraints-ray.txt
	$(PYTHON) -m venv $(RAY)
	$(RAY)/bin/python -m pip install --quiet --constraint constraints-ray.txt --editable '.[ray]' pytest
	touch $@
