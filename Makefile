# Every target does all of its own set-up: a fresh clone needs Python 3.11+ and make.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo test bench lint format clean chaos mutants

setup: .venv/ready  ## make .venv and say which system packages are missing
	@$(BIN)/python -m localcloud.doctor

.venv/ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Spillway needs Python 3.11 or newer; this is " + sys.version)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[cloud,dev]'
	@touch $@

demo: setup  ## grade the example submissions on the embedded cloud
	$(BIN)/spillway demo

test: setup  ## unit, property, contract and end-to-end tests
	$(BIN)/python -m pytest -n auto --maxprocesses=4 --dist loadfile --no-loadscope-reorder

chaos: .venv/ready  ## long games against the control code, and requests of all kinds to the deployed API; EXAMPLES=n, SEED=n to play the same ones again
	SPILLWAY_LONG=1 $(BIN)/python -m pytest -q --timeout=0 --show-capture=no tests/control/test_stateful.py tests/agent/test_agent_adopt.py tests/e2e/test_api_schema.py --hypothesis-seed=$(or $(SEED),$(shell date +%s))

mutants: .venv/ready  ## break the decisions one place at a time and see whether a test notices; ONLY="core/retirement.py"
	$(BIN)/python tests/mutants.py $(if $(ONLY),--only $(ONLY))

bench: .venv/ready  ## how fast plans are made, how well hosts are filled, what launches, spot, submissions and sandboxes cost
	$(BIN)/python -m bench.plan
	$(BIN)/python -m bench.packing
	$(BIN)/python -m bench.launch
	$(BIN)/python -m bench.spot
	$(BIN)/python -m bench.submit
	$(BIN)/python -m bench.sandbox

lint: .venv/ready  ## formatting, style, types, templates
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/cfn-lint infra/*/template.yaml

format: .venv/ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv .demo build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
