#!/bin/sh
# All timings of Docs/performance.md in one call on a quiet machine: Testing/bench/quiet.sh SCAN OUT   (about 6 minutes)
# SCAN: a CT of a real body. OUT: a new folder. PYTHON: an interpreter with bioatt, OpenVINO, bm3d, antspyx, scikit-image.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
scan=$1
out=$2
export PYTHONPATH="$root/BioAttDenoise:$root/Training" OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS="${OMP_NUM_THREADS:-2}"
python=${PYTHON:-python3}
mkdir -p "$out"
export BIOATT_MODELS="$out/models"
"$python" "$root/Testing/bench/bench_start.py" "$scan" "$out" | tee "$out/start.md"
timeout 300 "$python" -m bioatt.cli bench "$scan" --slices 41 --rounds 1 --out "$out/all" | tee "$out/all.md"
for isa in AVX2 AVX512_CORE_BF16; do
    ONEDNN_MAX_CPU_ISA=$isa timeout 90 "$python" -m bioatt.cli bench "$scan" --models bioatt --slices 4 --rounds 2 --no-others \
        --out "$out/$isa" | tee "$out/$isa.md" || echo "$isa: not in time"
done
cat "$out/models/computes.json"
