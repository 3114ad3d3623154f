#!/usr/bin/env bash
# Lints, builds and runs every test: unit, end-to-end and browser, and the cost of a request.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

scripts/lint.sh static

# The optimised programs, whose cost is measured last, build meanwhile on what the rest leaves idle:
# the end of a build has one crate at a time, and most tests wait most of the time.
log=$TARGET/release-build.log
mkdir -p "$TARGET"
idle=(nice -n 19)
! chrt --idle 0 true 2>/dev/null || idle=(chrt --idle 0)
"${idle[@]}" scripts/costs.sh build >"$log" 2>&1 &
release=$!
trap 'kill "$release" 2>/dev/null || true' EXIT

# One build for clippy, rustdoc and the tests: see there.
export RUSTC_WORKSPACE_WRAPPER=$PWD/scripts/rustc.sh CLIPPY_ARGS=-Dwarnings__CLIPPY_HACKERY__
step "test: building, with clippy and rustdoc"
cargo build --workspace --all-targets --locked
step "test: the commands of the tutorial"
scripts/check-tutorial.py
step "test: unit, end-to-end and browser tests"
# Most tests wait for daemons most of the time, so more of them run at once than there are cores.
RUST_TEST_THREADS=${RUST_TEST_THREADS:-6} cargo test --workspace --locked --no-fail-fast
step "test: building the optimised programs"
wait "$release" || {
    cat "$log"
    die "the optimised programs cannot be built"
}
step "test: the cost of a request"
scripts/costs.sh
end_step
say "test: passed in $SECONDS s"
