"""Write into a catalogue's model files how far priors may lie from the trained one; the weights stay as they are.

    python -m bioatt_training.fit.tell_prior_rise Training/configs/bioatt_7.toml Resources/Models/bioatt.safetensors

For models exported before `fit` wrote it; the catalogue `models.json` beside the file gets the new SHA-256.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from bioatt.core.errors import InputError
from bioatt.inference.models import add_to_training, read_model
from bioatt.io.files import atomic_write
from bioatt_training.data.prior_augmentation import largest_rise
from bioatt_training.fit.config import Config


def tell(config: Path, model: Path) -> None:
    """Add `training.prior_rise`, as the configuration's perturbation has it. Raises InputError where it has none."""
    rise = largest_rise(len(read_model(model).descriptors), Config.read(config).data.prior_perturbation)
    if rise is None:
        raise InputError(f"{config.name} trains with the slices' own priors alone: there is nothing to tell")
    sha256 = add_to_training(model, {"prior_rise": rise})
    catalogue = model.with_name("models.json")
    listed = json.loads(catalogue.read_text(encoding="utf-8"))
    for entry in listed["models"]:
        if entry["file"] == model.name:
            entry["sha256"] = sha256
    with atomic_write(catalogue) as partial:
        partial.write_text(json.dumps(listed, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    tell(Path(sys.argv[1]), Path(sys.argv[2]))
