#!/usr/bin/env bash
# Measures what a request costs each tier, with the optimised programs, and compares it with
# tests/tests/cost/costs.txt. UPDATE_COSTS=1 writes the numbers there instead (`make costs`).
# `costs.sh build` builds the programs only.
set -euo pipefail
cd "$(dirname "$0")/.."

# These two alone: each program is linked in one piece, which takes long.
build=(cargo build --release --locked -p app-proxy-coordinator -p app-proxy-worker)
# Plain rustc, as for any other optimised program.
build=(env -u RUSTC_WORKSPACE_WRAPPER "${build[@]}")
[[ ${1-} != build ]] || exec "${build[@]}"

"${build[@]}"
# By itself: other tests at the same time would make it slower, and waver more.
cargo test --package app-proxy-tests --test cost --locked -- \
    --ignored --exact --nocapture nothing_costs_more_than_recorded
