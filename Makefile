# `make audit` and `make test` work on a fresh machine with Python 3.11 and nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --constraint constraints.txt
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(shell nproc) --dist loadfile

.PHONY: help audit test test-all test-slow coverage interruptions lint hostile fuzz bench coverage-of-intervals collapse collapse-held-out prediction docs paper zoo cifar10-small constraints clean

help:  ## what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

audit: $(VENV)/.installed  ## audit the bundled zoos and say where the reports are; ARGS are those of `filterlens audit`
	$(BIN)/filterlens audit --jobs $(shell nproc) $(ARGS)
	$(if $(ARGS),,$(BIN)/filterlens audit --leaderboard fonts-linf --lens manifold --jobs $(shell nproc))

test: $(VENV)/.dev  ## linters, types, import rules and the fast tests
	$(MAKE) lint
	$(PYTEST) -m "not slow and not gpu"

test-all: $(VENV)/.dev  ## everything, slow tests too
	$(MAKE) lint
	$(PYTEST) -m "not gpu"

test-slow: $(VENV)/.dev  ## the slow tests alone
	$(PYTEST) -m "slow and not gpu"

coverage: $(VENV)/.dev  ## the fast tests with the lines and branches that none of them reaches
	$(PYTEST) -m "not slow and not gpu" --cov --cov-report=term

interruptions: $(VENV)/.dev  ## signals at 960 random moments; goes on where docs/interruptions.csv ends
	OMP_NUM_THREADS=1 $(BIN)/python tests/interruptions.py $(ARGS)

lint: $(VENV)/.dev  ## ruff, mypy --strict, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

hostile: $(VENV)/.dev  ## every file made to do harm, by every way in (hours): a table and docs/safety/hostile.csv
	cd tests && PYTHONPATH=. nice -n 10 $(abspath $(BIN))/python -m hostile.run --csv ../docs/safety/hostile.csv $(ARGS)

fuzz: $(VENV)/.dev  ## N mutated files over all containers, goes on where it was stopped: counts and offenders in fuzz/
	cd tests && PYTHONPATH=. nice -n 10 $(abspath $(BIN))/python -m hostile.fuzz --cases $(or $(N),1000000) --out ../fuzz --csv ../docs/safety/fuzz.csv $(ARGS)

bench: $(VENV)/.dev  ## speed and memory, side by side with peers: a table of ratios
	$(BIN)/python -m benchmarks

coverage-of-intervals: $(VENV)/.dev  ## how often intervals cover in simulated zoos: docs/evidence/coverage*.csv (minutes)
	OMP_NUM_THREADS=1 nice $(BIN)/python benchmarks/coverage_of_intervals.py

collapse: $(VENV)/.dev  ## whole trainings that collapse or do not (an hour of one core; goes on where it was stopped), and the table of them
	OMP_NUM_THREADS=1 nice -n 15 $(BIN)/python benchmarks/collapse.py $(ARGS)
	$(BIN)/python benchmarks/collapse_table.py --figure docs/images/collapse.png

collapse-held-out: $(VENV)/.dev  ## the same with other seeds and one architecture more: the trainings that the rules are judged on
	OMP_NUM_THREADS=1 nice -n 15 $(BIN)/python benchmarks/collapse.py --held-out $(ARGS)
	$(BIN)/python benchmarks/collapse_table.py --figure docs/images/collapse.png

prediction: $(VENV)/.installed  ## 20 robust networks on CIFAR-10, and whether scores without attacks tell which is more robust (half an hour; DATA=…)
	OMP_NUM_THREADS=1 nice -n 10 $(BIN)/python benchmarks/prediction.py --data $(DATA)

paper: $(VENV)/.installed  ## four figures and two tables of a finished run at printed size: paper/paper.pdf (STYLE=cvpr RUN=reports/fonts-linf)
	$(BIN)/python tools/paper.py $(or $(RUN),reports/fonts-linf) --style $(or $(STYLE),cvpr)

docs: $(VENV)/.docs  ## the documentation's site; warnings are errors
	$(VENV)-docs/bin/mkdocs build --strict

zoo: $(VENV)/.installed  ## retrain the zoo on FONTS (about an hour on two cores)
	$(BIN)/filterlens train zoo

cifar10-small: $(VENV)/.installed  ## retrain the zoo on CIFAR-10 (hours; DATA=archive or folder with train/ and test/)
	$(BIN)/filterlens train cifar10-small --data $(DATA) --out catalogs/cifar10-small

constraints: $(VENV)/.dev  ## pin what is installed now, but torch and what comes with it
	{ sed '/^[^#]/d' constraints.txt; $(BIN)/pip freeze --exclude-editable | \
		grep -v -i -E '^(torch|torchvision|triton|nvidia-|cuda-)[a-z0-9-]*=='; } > constraints.new
	mv constraints.new constraints.txt

clean:  ## remove what was made, not the environments
	rm -rf dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(PIP) --editable ".[audit,onnx]"
	touch $@

$(VENV)/.dev: $(VENV)/.installed tests/mlflow.txt
	$(PIP) --editable ".[dev]"
	# torchattacks holds requests at 2.25, which a client that MLflow brings along, and does not use here, finds too old
	$(PIP) --no-deps --requirement tests/mlflow.txt
	# torchattacks brings files of an old robustbench and may write them over the real ones
	$(PIP) --no-deps --force-reinstall robustbench
	touch $@

$(VENV)/.docs: pyproject.toml
	test -x $(VENV)-docs/bin/python || $(PYTHON) -m venv $(VENV)-docs
	$(VENV)-docs/bin/python -m pip install --quiet --upgrade pip \
		"mkdocs-material>=9.5" "mkdocs-jupyter>=0.25"
	mkdir -p $(VENV) && touch $@
