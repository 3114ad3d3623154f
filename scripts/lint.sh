#!/usr/bin/env bash
# Everything that is checked without running the program. The first finding ends it.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

cargo_deny_version=0.20.2
tools=$TARGET/tools
deny=$tools/bin/cargo-deny

say "lint: formatting"
cargo fmt --all --check

say "lint: scripts"
shellcheck --external-sources scripts/*.sh .ci/run

say "lint: the shape of the code"
scripts/house.py --check

say "lint: clippy"
cargo clippy --workspace --all-targets --locked -- -D warnings

say "lint: documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --quiet

if [[ $("$deny" --version 2>/dev/null) != "cargo-deny $cargo_deny_version" ]]; then
    say "lint: building cargo-deny $cargo_deny_version into $tools (a minute or two, once)"
    # Unoptimised: it is built on every new machine and runs for a second.
    cargo install --quiet --locked --debug --root "$tools" --version "$cargo_deny_version" cargo-deny
fi

# Without the warnings, which are two versions of one crate: `cargo deny check bans` shows them.
run_deny() {
    "$deny" --log-level error --offline check --hide-inclusion-graph "$@"
}

say "lint: licenses, sources and banned crates"
cargo fetch --quiet --locked
run_deny bans licenses sources

# The database of known vulnerabilities is a download. Where it can be had, a finding in it fails; where not, the check cannot be made.
if reason=$(timeout 120 "$deny" fetch db 2>&1); then
    say "lint: known vulnerabilities"
    run_deny advisories
else
    say "lint: known vulnerabilities NOT CHECKED, their database cannot be had here ($(tail -n 1 <<<"$reason"))"
fi
