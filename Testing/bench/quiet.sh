#!/bin/sh
# Measure all timings of Docs/performance.md on a quiet machine and write them to that page: Testing/bench/quiet.sh SCAN OUT   (about 6 minutes)
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
"$python" - "$root/Docs/performance.md" "$out" <<'PYTHON'
import sys
from pathlib import Path

page, out = map(Path, sys.argv[1:])
parts = {"start.md": "", "all.md": "", "AVX2.md": "With oneDNN limited to AVX2:\n\n", "AVX512_CORE_BF16.md": "To AVX-512:\n\n"}
tables = [before + (out / name).read_text().strip() for name, before in parts.items() if (out / name).read_text().strip()]
head, rest = page.read_text(encoding="utf-8").split("<!-- measured -->")
tail = rest.split("<!-- /measured -->")[1]
page.write_text(f"{head}<!-- measured -->\n\n" + "\n\n".join(tables) + f"\n\n<!-- /measured -->{tail}", encoding="utf-8")
PYTHON
