#!/usr/bin/env bash
# `venv.sh NAME REQUIREMENTS` puts what the file names into a virtual environment of its own, target/NAME. Does nothing when it is there already.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

(($# == 2)) || die "usage: venv.sh NAME REQUIREMENTS"
venv=$TARGET/$1
requirements=$2
# Written last, so that it is there only when all of it is.
installed=$venv/requirements.installed.txt

if cmp -s "$requirements" "$installed"; then
    exit 0
fi
say "installing what $requirements names into $venv"
mkdir -p "$TARGET"
python3 -m venv --clear "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --requirement "$requirements"
"$venv/bin/python" -m pip check
cp "$requirements" "$installed"
