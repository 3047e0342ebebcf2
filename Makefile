# Everything sets up .venv by itself; nothing is needed but Python 3.11 or newer with venv and pip.
PYTHON ?= python3
BIN := .venv/bin
WORKERS ?= 3

.PHONY: demo test test-slurm ssh-on-slurm test-ray test-environments test-engines test-images test-editor .slurm .ray .openai .images lint types e2e bench chaos docs lock clean

demo: .venv/.hub ## set up a hub with a small world and show one order, to the receipt
	@$(BIN)/mosu demo $(ARGS)

test: .venv/.dev ## unit, service, property, architecture and documentation tests on a real PostgreSQL
	@$(BIN)/pytest -n $(WORKERS) --ignore tests/journeys $(ARGS)

test-slurm: .venv/.dev .slurm .images ## the Slurm engine on a real Slurm of two nodes, which it installs and starts (as root)
	@$(BIN)/pytest -m slurm -n 2 --dist loadfile --no-loadscope-reorder tests/slurm $(ARGS)

lint: .venv/.dev ## style, types, architecture, locks
	@$(BIN)/ruff check src tests tools benchmarks
	@$(BIN)/ruff format --check src tests tools benchmarks
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python tools/check_tree.py
	@$(BIN)/python tools/messages.py --check

ssh-on-slurm: .venv/.dev .slurm ## a session on a real Slurm, entered by ssh and scp: prints what a person sees (as root)
	@$(BIN)/python -m tests.slurm.ssh_walk

test-ray: .venv/.dev .ray .images ## the Ray engine on a real Ray, which is installed beside
	@$(BIN)/pytest -m ray -n0 tests/ray $(ARGS)

test-environments: .venv/.dev .openai ## a real JupyterLab and a real model in the sandbox, reached through a real hub
	@$(BIN)/pytest -m environments -n 2 --dist loadfile tests/environments $(ARGS)

test-images: .venv/.dev .images ## images of containers from a real registry, in the sandbox of this machine
	@$(BIN)/pytest -m images -n 2 tests/images $(ARGS)

test-engines: .venv/.dev .slurm .ray ## one task file on this machine, a real Slurm and a real Ray (as root)
	@$(BIN)/pytest -m "slurm and ray" -n0 tests/engines $(ARGS)

e2e: .venv/.e2e ## journeys in a real Chromium: every page beside all other walks, each worker with hubs of its own
	@tools/install-chromium.sh
	@$(BIN)/pytest -m e2e -n 2 --dist loadfile tests/journeys $(ARGS)

bench: .venv/.dev ## figures against their bars; prints a table and writes JSON
	@$(BIN)/python -m benchmarks $(ARGS)

test-editor: .venv/.e2e .code-server.tar.gz ## VS Code's editor from form to receipt; compiles code-server once, which takes minutes
	@tools/install-chromium.sh
	@$(BIN)/pytest -m editor -n0 tests/journeys $(ARGS)

chaos: .venv/.dev ## kill -9 at random for five minutes, then count (SECONDS=60 for a short run)
	@$(BIN)/python -m benchmarks.chaos --seconds $(or $(SECONDS),300) $(ARGS)

docs: .venv/.dev ## check links and execute the tutorials
	@$(BIN)/pytest tests/docs $(ARGS)

lock: .venv/.dev ## resolve again what pyproject.toml asks for, into hashed locks without any address
	@tools/lock.sh

.slurm:
	@tools/install-slurm.sh

.ray:
	@tools/install-beside.sh ray

.images:
	@tools/install-images.sh

.code-server.tar.gz:
	@tools/pack-code-server.sh $@

.openai:
	@tools/install-beside.sh openai

# One environment, deeper with each target: hub < dev < e2e. A change of a lock installs again.
# pip is what venv makes last: an environment that was broken off before is made again.
.venv/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mosu needs Python 3.11 or newer; PYTHON=/path/to/python3.11 make ...")'
	@$(PYTHON) -m venv .venv

.venv/.hub: requirements/hub.lock pyproject.toml | .venv/bin/pip
	@tools/install.sh hub

.venv/.dev: requirements/dev.lock pyproject.toml | .venv/bin/pip
	@tools/install.sh dev

.venv/.e2e: requirements/e2e.lock pyproject.toml | .venv/bin/pip
	@tools/install.sh e2e

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
