#!/usr/bin/env bash
# Where the instructions of a request are: runs one scenario of tests/tests/cost at one tier (coordinator, worker) under
# callgrind and prints its functions, each number for one request. Builds the optimised programs first.
#   scripts/profile.sh keep-alive coordinator
# The scenarios are those of tests/tests/cost/costs.txt. What callgrind wrote stays in target/profile, for callgrind_annotate
# or kcachegrind; those numbers are of 500 requests.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

(($# == 2)) || die "which? scripts/profile.sh SCENARIO TIER, for example: scripts/profile.sh keep-alive coordinator"
command -v valgrind >/dev/null || die "valgrind is missing: make test-deps"

folder=$TARGET/profile/$1-$2
rm -rf "$folder"
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)

if [[ -z ${APP_PROXY_COST_BIN_DIR-} ]]; then
    cargo build --release --locked -p app-proxy-coordinator -p app-proxy-worker
fi
COST_SCENARIO=$1 COST_TIER=$2 COST_FOLDER=$folder \
    cargo test --quiet -p app-proxy-tests --test cost --locked -- --ignored --exact --nocapture profile_of_a_scenario |
    tee "$folder/report.txt"

say "The report is in $folder/report.txt. To look at single lines:"
for dump in "$folder"/callgrind.out.*-*; do
    # The thread that did most is the one that serves.
    printf '%s %s\n' "$(awk '/^totals:/ { print $2 }' "$dump")" "$dump"
done | sort -n | tail -n 1 | while read -r _ dump; do
    say "  callgrind_annotate --auto=yes --inclusive=no $dump | less"
done
