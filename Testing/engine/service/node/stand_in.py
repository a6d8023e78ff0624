"""A stand-in for the engine that derives images without denoising them, and a node process that uses it.

python stand_in.py SETTINGS.toml
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from bioatt.service.node.node import Failure, Node
from bioatt.service.node.settings import read_settings

DEADLY: list[str] = []


def denoise(images: Path, out: Path) -> list[Failure]:
    """Write each image as a derived one, in a new series."""
    series = generate_uid(prefix=None)
    (out / "dicom").mkdir(exist_ok=True)
    for number, file in enumerate(sorted(images.iterdir())):
        data = dcmread(file)
        if data.StudyInstanceUID in DEADLY:
            os._exit(137)
        source, maker = Dataset(), Dataset()
        source.ReferencedSOPInstanceUID, maker.Manufacturer = data.SOPInstanceUID, "BioAttDenoise"
        data.SourceImageSequence, data.ContributingEquipmentSequence = [source], [maker]
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid(prefix=None)
        data.SeriesInstanceUID = series
        data.save_as(out / "dicom" / f"{number:04d}.dcm")
    return []


if __name__ == "__main__":
    DEADLY = sys.argv[2:]
    node = Node(read_settings(Path(sys.argv[1])), denoise, pause_s=0.05)
    print("ready", flush=True)
    node.run(threading.Event())
