#!/usr/bin/env bash
# Compiles a crate of the workspace with clippy, then checks its documentation with rustdoc. `make
# test` sets it as RUSTC_WORKSPACE_WRAPPER, so that one build serves the lints and the tests:
# `cargo clippy` and `cargo doc` would read all dependencies once more. Warnings are errors;
# clippy has that from CLIPPY_ARGS, as `cargo clippy` sets it, which must be in cargo's environment
# too: a crate is built again when the variable changes.
set -euo pipefail

clippy-driver "$@"
[[ " $* " == *" --crate-type "* ]] || exit 0 # a question of cargo's, or a test program
shift        # the path of rustc

# What rustdoc shares with rustc; the rest says what to emit, and where.
options=(-D warnings -o "${CARGO_TARGET_DIR:-$PWD/target}/lint")
while (($# > 0)); do
    case $1 in
        --print | --print=* | build_script_build) exit 0 ;;
        -L | --extern | --cfg | --check-cfg | --crate-name | --cap-lints | --target)
            options+=("$1" "$2")
            shift
            ;;
        --crate-type)
            options+=("$1" "$2")
            [[ $2 != bin ]] || options+=(--document-private-items)
            shift
            ;;
        -C | --emit | --out-dir) shift ;;
        --edition=* | --warn=* | --deny=* | --allow=* | --forbid=* | *.rs) options+=("$1") ;;
    esac
    shift
done
exec rustdoc "${options[@]}"
