# What the other scripts have in common. They source it, from the top of the repository.
# shellcheck shell=bash

# Where cargo builds.
# shellcheck disable=SC2034
TARGET=${CARGO_TARGET_DIR:-target}

# rust-toolchain.toml names a version. Where rustup has that version under the name `stable` only, and
# may not install another, `stable` serves.
rust_version=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
if ! rustc --version >/dev/null 2>&1 &&
    [[ $(RUSTUP_TOOLCHAIN=stable rustc --version 2>/dev/null) == "rustc $rust_version "* ]]; then
    export RUSTUP_TOOLCHAIN=stable
fi

say() {
    printf '%s\n' "$*"
}

die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# check_out COMMIT FOLDER: the files of a commit, in a worktree that stays there.
check_out() {
    # A folder that `cargo clean` removed is still listed as a worktree.
    git worktree prune
    [[ -e $2/Cargo.toml ]] || git worktree add --quiet --force --detach "$2" "$1"
}

# step NAME: announces a step, after the time that the one before took.
step() {
    end_step
    step_name=$1 step_begin=$SECONDS
    say "$step_name"
}

end_step() {
    [[ -z ${step_name-} ]] || say "$step_name: $((SECONDS - step_begin)) s"
    step_name=
}

# Installs Debian packages, if any are named; as root, or else by sudo.
install_packages() {
    (($# > 0)) || return 0
    local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120)
    command -v apt-get >/dev/null ||
        die "please install what Debian calls: $* (there is no apt-get here to do it with)"
    if ((EUID != 0)); then
        command -v sudo >/dev/null ||
            die "please install these packages as root: apt-get install $*"
        apt=(sudo "${apt[@]}")
    fi
    say "installing with apt-get: $*"
    local output
    output=$("${apt[@]}" -qq update 2>&1 && "${apt[@]}" -qq install -y --no-install-recommends "$@" 2>&1) ||
        die "apt-get could not install: $*"$'\n'"$output"
}
