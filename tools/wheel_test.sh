#!/usr/bin/env bash
# wheel_test.sh WHEEL: installs the wheel into a new environment outside the checkout and runs the demo there.
# Needs about 3 GB in the temporary folder; removes all of it again.
set -euo pipefail
wheel=$(realpath "$1")
constraints=$(realpath "$(dirname "$0")/../constraints.txt")
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
unset PYTHONPATH
export REENACTOR_HOME=$place/home REENACTOR_NO_CACHE=1
"${PYTHON:-python3}" -m venv env
env/bin/python -m pip install --quiet --disable-pip-version-check -c "$constraints" "$wheel"
env/bin/reenactor --version
env/bin/reenactor demo --out demo
ls -l demo
