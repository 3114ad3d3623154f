#!/usr/bin/env bash
# Lints, builds and runs every test: unit, end-to-end and browser, and the cost of a request.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/lint.sh
# The end-to-end tests start the daemons as programs, so these have to be there first.
cargo build --workspace --bins --locked
# Most tests wait for daemons most of the time, so more of them run at once than there are cores.
RUST_TEST_THREADS=${RUST_TEST_THREADS:-6} cargo test --workspace --locked --no-fail-fast
scripts/costs.sh
