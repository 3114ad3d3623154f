#!/usr/bin/env bash
# What to run while working: formatting, clippy, the shape of the code, documents, unit tests. Needs
# cargo and Python alone: no packages, no browser, no daemons.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

scripts/lint.sh quick
step "check: unit tests"
cargo test --workspace --lib --bins --locked --quiet
end_step
say "check: passed in $SECONDS s"
