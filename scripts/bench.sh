#!/usr/bin/env bash
# Measures App-Proxy beside nginx, haproxy and others: docs/benchmark.md. Arguments go to `app-proxy-bench run`.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

npm_folder=$TARGET/npm
chp=configurable-http-proxy@5.3.0

# Debian puts daemons where an ordinary user's PATH may not lead.
PATH=$PATH:/usr/sbin

missing=()
command -v nginx >/dev/null || missing+=(nginx-light)
command -v haproxy >/dev/null || missing+=(haproxy)
command -v setpriv >/dev/null || missing+=(util-linux)
install_packages "${missing[@]}"

# Node is only for this one chain, so it is used where it is there, and not installed.
if [[ ! -e $npm_folder/node_modules/configurable-http-proxy ]]; then
    if ! command -v npm >/dev/null; then
        say "bench: configurable-http-proxy is left out: there is no npm"
    elif ! output=$(npm install --silent --no-audit --no-fund --prefix "$npm_folder" "$chp" 2>&1); then
        say "bench: configurable-http-proxy is left out: npm cannot install it ($(tail -n 1 <<<"$output"))"
    fi
fi

cargo build --release --locked -p app-proxy-coordinator -p app-proxy-worker -p app-proxy-bench

exec "$TARGET/release/app-proxy-bench" run --npm "$npm_folder" --out "$TARGET/bench" "$@"
