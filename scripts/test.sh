#!/usr/bin/env bash
# Lints, builds and runs every test: unit, end-to-end and browser, and the cost of a request.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

scripts/lint.sh
step "test: building"
# The end-to-end tests start the daemons as programs, which `cargo test` does not build.
cargo build --workspace --bins --locked
cargo test --workspace --no-run --locked --quiet
step "test: the commands of the tutorial"
scripts/check-tutorial.py
step "test: unit, end-to-end and browser tests"
# Most tests wait for daemons most of the time, so more of them run at once than there are cores.
RUST_TEST_THREADS=${RUST_TEST_THREADS:-6} cargo test --workspace --locked --no-fail-fast
step "test: the cost of a request"
scripts/costs.sh
end_step
say "test: passed in $SECONDS s"
