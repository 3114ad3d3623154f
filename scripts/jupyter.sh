#!/usr/bin/env bash
# Puts JupyterLab, for the browser tests, into a virtual environment of its own: target/jupyter. Does nothing when what
# tests/requirements.txt names is there already.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

venv=$TARGET/jupyter
# Written last, so that it is there only when all of it is.
installed=$venv/requirements.installed.txt

if cmp -s tests/requirements.txt "$installed"; then
    exit 0
fi
say "installing JupyterLab into $venv"
mkdir -p "$TARGET"
python3 -m venv --clear "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --requirement tests/requirements.txt
"$venv/bin/python" -m pip check
cp tests/requirements.txt "$installed"
