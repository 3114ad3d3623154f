# The targets that people and CI use; what they do is in scripts/.

# `make run PROFILE=release` runs the optimised programs. The default starts sooner on a new machine and is
# what `make test` builds too; the libraries in it are optimised (Cargo.toml).
PROFILE ?= dev
# `make profile SCENARIO=websocket TIER=worker`; the scenarios are those of tests/tests/cost/costs.txt.
SCENARIO ?= keep-alive
TIER ?= coordinator
# `make compat FROM=HEAD~1` upgrades from another commit than the first with a store.
FROM ?= 818f1d6

.DEFAULT_GOAL := help
.PHONY: help run build check test costs profile bench scale compat fuzz lint house fmt clean deps test-deps

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

run: build ## one coordinator, two workers and the sample application, on loopback, until Ctrl-C
	@# No shell in between: it would keep a SIGTERM from make to itself.
	@scripts/run.sh $(PROFILE)

build: deps ## the programs
	cargo build --workspace --bins --locked --profile $(PROFILE)

check: ## formatting, clippy and unit tests, to run while working: under 3 minutes
	@scripts/check.sh

test: test-deps ## lint, then every test
	scripts/test.sh

costs: test-deps ## write what a request costs into tests/tests/cost/costs.txt, which `make test` compares with
	UPDATE_COSTS=1 scripts/costs.sh

profile: ## where a request's instructions are (SCENARIO=keep-alive TIER=coordinator)
	@scripts/profile.sh $(SCENARIO) $(TIER)

# `make bench ARGS="--quick"` is a short one; `ARGS=--help` says what else there is.
bench: deps ## measure it beside nginx, haproxy and others, for half an hour
	@scripts/bench.sh $(ARGS)

# `make scale ARGS="--apps 1000 --sessions 10000 --workers 20"` is a small one.
scale: deps ## measure it with 10,000 apps, 100,000 sessions and 200 workers, for some minutes
	@scripts/scale.sh $(ARGS)

compat: deps ## upgrade from the commit FROM to this version, and mix the two, for some minutes
	@scripts/compat.sh $(FROM)

# `make fuzz ARGS="60 request_head body"` is a short one.
fuzz: deps ## run each fuzz target for ten minutes, two at a time
	@scripts/fuzz.sh $(ARGS)

lint: test-deps ## formatting, clippy, documentation, scripts, licenses and known vulnerabilities
	scripts/lint.sh

# `make house ARGS="--all hop/src"` names every line there that is beyond a limit.
house: ## measure the shape of the code: language, visibility, circles, lengths
	@scripts/house.py $(ARGS)

fmt: ## format the code
	cargo fmt --all

clean: ## remove what was built; what the daemons keep in run/ stays
	cargo clean

deps: ## install what building and running need, where it is missing
	@scripts/deps.sh

test-deps: ## install what the tests need as well
	@scripts/deps.sh tests
	@scripts/venv.sh jupyter tests/requirements.txt
	@scripts/venv.sh schemathesis tests/schemathesis/requirements.txt
