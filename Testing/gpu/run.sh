#!/bin/sh
# Checks and trainings for a GPU: Testing/gpu/run.sh check|train|slabs|organs|all [options of its program]
#   check   correctness and speed of the engine (at most 120 s)
#   train   the paper's network, then the other arms of its Table 1, for the remaining time
#   all     both, within GPU_LIMIT_S
# Results are written to $OUT (default scratch/gpu) as soon as they are available. PYTHON: an interpreter with torch, NumPy and SciPy.
# GPU_LIMIT_S: seconds for the whole call (default 560). GPU_PREVIOUS: folder of an earlier call's outputs to resume from.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
PYTHONPATH="$root/BioAttDenoise:$root/Training${PYTHONPATH:+:$PYTHONPATH}"
PYTHONUNBUFFERED=1
OUT=${OUT:-$root/scratch/gpu}
GPU_DEADLINE=$(($(date +%s) + ${GPU_LIMIT_S:-560}))
export PYTHONPATH PYTHONUNBUFFERED OUT GPU_DEADLINE
mkdir -p "$OUT"
python=${PYTHON:-python3}
step=${1:-}
[ $# -gt 0 ] && shift
case $step in
check | train | slabs | organs)
    exec "$python" "$root/Testing/gpu/$step.py" "$@"
    ;;
all)
    # a failed check must not prevent the training
    "$python" "$root/Testing/gpu/check.py" || echo "check: exit status $?"
    exec "$python" "$root/Testing/gpu/train.py" "$@"
    ;;
*)
    echo "usage: Testing/gpu/run.sh check|train|slabs|organs|all" >&2
    exit 2
    ;;
esac
