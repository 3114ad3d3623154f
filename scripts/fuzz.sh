#!/usr/bin/env bash
# Runs fuzz targets, two at a time: docs/testing.md. Arguments: the seconds for each (600), and the
# targets (all). A finding is in fuzz/artifacts, and the script fails.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

seconds=${1:-600}
shift || true
command -v cargo-fuzz >/dev/null || die "please install it: cargo install cargo-fuzz --locked"
targets=("$@")
((${#targets[@]})) || mapfile -t targets < <(cd fuzz && cargo fuzz list)

step "fuzz: seeds from tests/fixtures/http1"
cargo test --quiet --locked -p app-proxy-tests --test http1 seeds -- --ignored >/dev/null

# The stable compiler accepts the sanitizer's flags.
export RUSTC_BOOTSTRAP=1
step "fuzz: building"
for target in "${targets[@]}"; do
    (cd fuzz && cargo fuzz build "$target")
done

fuzz() {
    local target=$1 seconds=$2 log=target/$1.log options=()
    options=(-max_total_time="$seconds" -timeout=20 -max_len=4096 -print_final_stats=1)
    options+=(-dict=http1.dict)
    if cargo fuzz run "$target" -- "${options[@]}" >"$log" 2>&1; then
        echo "$target: $(grep -o 'Done .*' "$log")"
    else
        echo "$target: FOUND, see fuzz/$log"
        tail -n 20 "$log"
        return 1
    fi
}
export -f fuzz

step "fuzz: $seconds s each, two at a time"
cd fuzz
printf '%s\n' "${targets[@]}" | xargs -P 2 -I TARGET bash -c 'fuzz TARGET '"$seconds"
end_step
