"""Anatomy from TotalSegmentator (Wasserthal 2023, 10.1148/ryai.230024), if that program is installed.

It runs as a separate process and downloads its weights on first use. Its usage statistics are switched off.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from bioatt.anatomy.descriptors import ANATOMY_SET, load_descriptor_set
from bioatt.anatomy.sources import OrganProbabilities
from bioatt.core.errors import Cancelled, InputError
from bioatt.core.volume import Volume
from bioatt.io.images import write_volume
from bioatt.priors.base import AnatomicalPrior
from bioatt.priors.segmentation import SegmentationPrior, read_segmentation

PROGRAM = "TotalSegmentator"
_ASK_EVERY_S = 0.2


class TotalSegmentator:
    """AnatomySource: the program's task "total" at a voxel size of 3 mm (`--fast`).

    slice_prior: splits a structure that belongs to several descriptors, such as the aorta. device: torch device.
    Raises InputError if the program is not installed.
    """

    def __init__(self, slice_prior: AnatomicalPrior, device: str = "cpu") -> None:
        found = shutil.which(PROGRAM)
        if found is None:
            raise InputError(f"{PROGRAM} is not installed: pip install {PROGRAM}, or use the organ maps")
        self.program, self.slice_prior = found, slice_prior
        self.device = "gpu" if device.startswith("cuda") else "cpu"

    def maps(self, volume: Volume, *, cancelled: Callable[[], bool] | None = None) -> OrganProbabilities:
        """Segment the volume. Raises InputError if the program fails, Cancelled."""
        with tempfile.TemporaryDirectory() as folder:
            scan, labels = Path(folder) / "scan.nii.gz", Path(folder) / "labels.nii.gz"
            write_volume(volume, scan)
            self._run(scan, labels, Path(folder), cancelled)
            segmentation = read_segmentation(labels)
        prior = SegmentationPrior(segmentation, load_descriptor_set(ANATOMY_SET), self.slice_prior)
        return prior.maps(volume, cancelled=cancelled)

    def _run(self, scan: Path, labels: Path, folder: Path, cancelled: Callable[[], bool] | None) -> None:
        command = [self.program, "-i", str(scan), "-o", str(labels), "--ml", "--fast", "--quiet", "-d", self.device]
        with (folder / "log.txt").open("w+", encoding="utf-8", errors="replace") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=_environment(folder))
            while process.poll() is None:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_ASK_EVERY_S)
                if cancelled is not None and cancelled():
                    process.terminate()
                    process.wait()
                    raise Cancelled("cancelled")
            log.seek(0)
            lines = [line.strip() for line in log if line.strip()]
        if process.returncode or not labels.is_file():
            raise InputError(
                f"{PROGRAM} failed ({lines[-1][:200] if lines else 'no output'}): run it on the scan to see why"
            )


def _environment(folder: Path) -> dict[str, str]:
    """Variables of the process: settings without statistics in `folder`, weights in the program's own folder."""
    home = Path(os.environ.get("TOTALSEG_HOME_DIR") or Path.home() / ".totalsegmentator")
    settings = {"totalseg_id": "", "send_usage_stats": False, "prediction_counter": 0}
    (folder / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    weights = os.environ.get("TOTALSEG_WEIGHTS_PATH") or str(home / "nnunet" / "results")
    return {**os.environ, "TOTALSEG_HOME_DIR": str(folder), "TOTALSEG_WEIGHTS_PATH": weights}
