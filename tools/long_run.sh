#!/usr/bin/env bash
# The long training run of the hybrid, beside other work: one thread (or OMP_NUM_THREADS), low priority. Begins, or
# continues where it stopped; on a machine that has no run it begins with the weights that ship.
# Ctrl-C or `kill PID` stops it with a checkpoint; `reenactor train`'s log.jsonl is in RUN.
#   tools/long_run.sh PACK RUN [MORE OPTIONS OF train]
set -euo pipefail
if [ $# -lt 2 ]; then
    sed -n '2,5s/^# //p' "$0"
    exit 2
fi
pack=$1 run=$2
shift 2
weights=$(dirname "$0")/../src/reenactor/weights/hybrid
init=()
if [ ! -d "$run/checkpoints" ]; then
    # Another seed: other pairs than on other machines.
    init=(--set "objective.init=$weights" --set "objective.init_discriminator=$weights-discriminator" --set "seed=$(date +%s)")
fi
# Memory is kept instead of given back after each step: on virtual machines that doubles the speed.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} MALLOC_MMAP_THRESHOLD_=4000000000 MALLOC_TRIM_THRESHOLD_=4000000000
# What the machine has left over: unlike `nice`, it takes nothing from others.
if command -v chrt >/dev/null; then quietly=(chrt --idle 0); else quietly=(nice -n 19); fi
exec "${quietly[@]}" "$(dirname "$0")/../.venv/bin/reenactor" train hybrid \
    --data "$pack" --out "$run" --resume "${init[@]}" "$@"
