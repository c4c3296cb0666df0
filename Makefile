# make run     set up, then the seven-model ensemble on the embedded digits
# make ui      MLflow's pages on the runs, and the link to the newest
# make test    set up, then the tests
# make long    the tests that take minutes each
# make endure  the tests that take many minutes, for a quiet machine
# make pages   the tests in a browser
# make rivals  this project's loader beside others on the same shards, in an environment of their own
# make docs    the pages of docs/ as a site, in site/
# make gpu     the self-test of a machine with GPUs, then the tests that need one
# make check   format, lint, types, then the tests: what CI runs
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := 0.13.9

RIVALS := .venv-rivals
RIVALS_PINS := platform/bench/rivals/requirements

.PHONY: run test long endure pages cluster gpu rivals rivals-constraints fast lint check format docs setup constraints manifests ui clean

run: setup
	$(BIN)/python -m platform.launch +experiment=googlenet_ens

# Files of tests side by side: see tests/conftest.py.
SIDE_BY_SIDE := -n auto --dist loadfile --no-loadscope-reorder --durations=20

test: setup  ## property tests draw the same examples each time, new ones in the other targets: what fails is the change
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not long and not endurance" --hypothesis-profile=ci

long: setup  ## whole runs that take minutes: killed again and again, measured, in turns
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=20 -m "long and not endurance"

endure: setup  ## the tests that take many minutes: twenty kills, shrinking and growing clusters
	$(BIN)/python -m pytest -m endurance --timeout 1800

pages: setup  ## what people see in a browser: MLflow's pages, that of job=serve; needs Debian's chromium
	$(BIN)/python -m pytest $$(grep -rl --include='test_*.py' 'from tests.browser' tests)

cluster: setup  ## a real Kubernetes cluster (CONTEXT=kind-kind), set up as k8s/README.md says: some ten minutes
	PLATFORM_TEST_CONTEXT="$(CONTEXT)" $(BIN)/python -m pytest tests/kube/test_real_cluster.py

# PHOTOS=FILE.tar has photographs of yours; without it, variations of scikit-learn's two are read.
rivals: setup $(RIVALS)/.installed  ## about 7 GB of other loaders, then about twelve minutes on two quiet cores
	$(BIN)/python -m platform.launch +experiment=googlenet job=bench bench.parts=[rivals] \
		$(if $(PHOTOS),bench.photos="$(PHOTOS)") $(if $(JSON),bench.json="$(JSON)")

$(RIVALS)/.installed: $(RIVALS_PINS).txt | $(VENV)/.installed
	$(BIN)/uv venv -q --clear --python $(BIN)/python $(RIVALS)
	$(BIN)/uv pip install -q --python $(RIVALS)/bin/python -r $(RIVALS_PINS).txt
	@touch $@

# After a change of the other loaders' versions; DALI has wheels for Linux only.
rivals-constraints: setup
	$(BIN)/uv pip compile -q --python-version 3.11 --python-platform linux --no-header --no-annotate $(RIVALS_PINS).in -o $(RIVALS_PINS).txt

gpu: setup  ## at most ten minutes, or MINUTES=20; without a CUDA device a line says what to do
	$(BIN)/python -m platform.gpu_check $(if $(MINUTES),--minutes $(MINUTES))
	$(BIN)/python -m pytest -m gpu

fast: setup  ## without the tests that start Ray
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not slow and not long and not endurance"

lint: setup
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/basedpyright

check: lint test

format: setup
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

# -m puts this folder first on Python's path, where the pages that are made import our `platform`.
docs: setup  ## a dead link or a page that nothing leads to is an error
	$(BIN)/python -m docs.write_reference
	$(BIN)/python -m docs.write_networks
	$(BIN)/python -m docs.write_metrics
	$(BIN)/python -m docs.write_dashboard
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

setup: $(VENV)/.installed

# uv resolves nothing here: constraints.txt has every version. It is faster than pip, and compiles bytecode once: half of
# what a Ray worker does before its first step is importing torch and Ray.
$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, $(PYTHON) is " + sys.version.split()[0] + "; run make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check uv==$(UV)
	$(BIN)/uv pip install -q --compile-bytecode --python $(BIN)/python -r pyproject.toml --group dev -c constraints.txt
	@touch $@

# After a change of pyproject.toml: pin everything it brings, for every platform.
constraints: setup
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --no-header --no-annotate pyproject.toml --group dev -o constraints.txt

# After a change of what becomes a RayJob: k8s/jobs anew.
manifests: setup
	$(BIN)/python -m tests.kube.write_examples

# MLflow's pages on the runs of this checkout; URI=sqlite:///FILE and PORT=5001 for others.
ui: setup
	@$(BIN)/python -m platform.tracking.ui $(if $(URI),--uri "$(URI)") $(if $(PORT),--port $(PORT))

clean:  ## results, packed data and tracking; keeps the environment
	rm -rf runs data mlruns mlflow.db
