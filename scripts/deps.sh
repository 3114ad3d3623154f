#!/usr/bin/env bash
# Installs what is missing of what building and running need, on Debian 12. `deps.sh tests` adds what the tests need.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

command -v cargo >/dev/null ||
    die "Rust is missing: please install cargo and rustc, at least $(sed -n 's/^rust-version = //p' Cargo.toml)"

compiles_c() {
    printf '#include <stdio.h>\nint main(void) { return 0; }\n' | cc -x c -o /dev/null - 2>/dev/null
}

missing=()
# Pingora builds zlib-ng, by cmake; TLS and zstd are C too.
compiles_c || missing+=(gcc libc6-dev)
command -v cmake >/dev/null || missing+=(cmake)
command -v curl >/dev/null || missing+=(curl)

if [[ ${1-} == tests ]]; then
    command -v shellcheck >/dev/null || missing+=(shellcheck)
    command -v git >/dev/null || missing+=(git)
    # What the cost of a request is measured with.
    command -v valgrind >/dev/null || missing+=(valgrind)
    command -v strace >/dev/null || missing+=(strace)
    # A browser, the program that drives it, and letters for its pages.
    command -v chromium >/dev/null || missing+=(chromium fonts-dejavu-core)
    command -v chromedriver >/dev/null || missing+=(chromium-driver)
    python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3 python3-venv)
fi

install_packages "${missing[@]}"
