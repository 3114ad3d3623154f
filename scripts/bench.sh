#!/usr/bin/env bash
# Measures App-Proxy beside nginx, haproxy and others: docs/benchmark.md. `--previous COMMIT` builds that commit too, and
# measures it in the same run. All other arguments go to `app-proxy-bench run`.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

arguments=() previous=
while (($# > 0)); do
    case $1 in
        --previous) previous=${2:?the commit to compare with} && shift ;;
        --previous=*) previous=${1#*=} ;;
        *) arguments+=("$1") ;;
    esac
    shift
done

# build_previous COMMIT: builds its daemons once, and adds their folder to the arguments.
build_previous() {
    local commit folder
    commit=$(git rev-parse --verify --quiet "$1^{commit}") || die "$1 is no commit of this repository"
    folder=$(realpath -m "$TARGET/bench-previous")
    local source=$folder/${commit:0:12}/source programs=$folder/${commit:0:12}/bin
    if [[ ! -e $programs/complete ]]; then
        say "bench: building $(git log -1 --format='%h, %s' "$commit") (minutes, once)"
        check_out "$commit" "$source"
        # One folder for all commits, so that third-party crates are built once.
        (cd "$source" && CARGO_TARGET_DIR=$folder/build cargo build --release --locked \
            -p app-proxy-coordinator -p app-proxy-worker)
        mkdir -p "$programs"
        cp "$folder"/build/release/app-proxy-{coordinator,worker} "$programs/"
        touch "$programs/complete"
    fi
    arguments+=(--previous "$programs")
}

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

[[ -z $previous ]] || build_previous "$previous"
cargo build --release --locked -p app-proxy-coordinator -p app-proxy-worker -p app-proxy-bench

exec "$TARGET/release/app-proxy-bench" run --npm "$npm_folder" --out "$TARGET/bench" "${arguments[@]}"
