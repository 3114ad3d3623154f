#!/usr/bin/env bash
# Lints, builds and runs every test: unit, end-to-end and browser.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/lint.sh
# The end-to-end tests start the daemons as programs, so these have to be there first.
cargo build --workspace --bins --locked
cargo test --workspace --locked --no-fail-fast
