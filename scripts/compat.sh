#!/usr/bin/env bash
# Upgrades from an earlier commit to the working tree under load, and runs the programs of both
# together: docs/testing.md. `compat.sh COMMIT`; what it builds stays in target/compat/.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

from=${1:?the commit to upgrade from}
commit=$(git rev-parse --verify --quiet "$from^{commit}") || die "$from is no commit of this repository"
root=$PWD/$TARGET/compat
[[ $TARGET != /* ]] || root=$TARGET/compat
folder=$root/${commit:0:12}
source=$folder/source programs=$folder/bin
packages=(-p app-proxy-coordinator -p app-proxy-worker)

say "compat: from $(git log -1 --format='%h, %s' "$commit")"
check_out "$commit" "$source"

step "compat: the description of the admin API"
scripts/compat-api.py "$source/docs/openapi.json" docs/openapi.json ||
    die "clients of the earlier API break"

if [[ ! -e $programs/complete ]]; then
    # One folder for all commits, so that third-party crates are built once.
    step "compat: building the earlier programs (minutes, once)"
    (cd "$source" && CARGO_TARGET_DIR=$root/build cargo build --locked "${packages[@]}")
    mkdir -p "$programs"
    cp "$root"/build/debug/app-proxy-{coordinator,worker} "$programs/"
    touch "$programs/complete"
fi

step "compat: building this version"
cargo build --locked "${packages[@]}"
cargo test --locked --package app-proxy-tests --test compat --no-run

step "compat: both together"
test=the_earlier_version_and_this_one_work_together
status=0
APP_PROXY_COMPAT_BIN_DIR=$programs APP_PROXY_COMPAT_SOURCE=$source RUST_BACKTRACE=0 \
    cargo test --quiet --locked --package app-proxy-tests --test compat -- \
    --ignored --exact --nocapture "$test" >"$root/log" 2>&1 || status=$?
grep -E '^(failed|lost): ' "$root/log" | head -n 20 || true
# The table, and what follows until the end of the test.
sed -n '/^case  /,/^$/p' "$root/log"
((status == 0)) || die "the two versions do not work together: $root/log"
# A test of another name would run nothing, and succeed.
grep -q "^test result: ok. 1 passed" "$root/log" || die "the test $test did not run"
end_step
say "compat: passed in $SECONDS s"
