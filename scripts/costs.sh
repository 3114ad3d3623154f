#!/usr/bin/env bash
# Measures what a request costs each tier, with the optimised programs, and compares it with
# tests/tests/cost/costs.txt. UPDATE_COSTS=1 writes the numbers there instead (`make costs`).
# `costs.sh build` builds the programs only.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

# These two alone: each program is linked in one piece, which takes long.
build=(cargo build --release --locked -p app-proxy-coordinator -p app-proxy-worker)
# Plain rustc, as for any other optimised program.
build=(env -u RUSTC_WORKSPACE_WRAPPER "${build[@]}")
[[ ${1-} != build ]] || exec "${build[@]}"

"${build[@]}"
# By itself: other tests at the same time would make it slower, and waver more.
gate=nothing_costs_more_than_recorded
cargo test --package app-proxy-tests --test cost --locked -- --ignored --exact --nocapture "$gate" |
    tee "$TARGET/costs.log"
# A gate of another name would run no test, and succeed.
grep -q "^test result: ok. 1 passed" "$TARGET/costs.log" || die "the test $gate did not run"
