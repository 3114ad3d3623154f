#!/usr/bin/env bash
# Measures a coordinator with many apps, sessions and workers: docs/explanation/performance.md.
# Arguments go to `app-proxy-bench scale`.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

missing=()
command -v setpriv >/dev/null && command -v taskset >/dev/null || missing+=(util-linux)
install_packages "${missing[@]}"

cargo build --release --locked -p app-proxy-coordinator -p app-proxy-worker -p app-proxy-bench

exec "$TARGET/release/app-proxy-bench" scale --out "$TARGET/bench" "$@"
