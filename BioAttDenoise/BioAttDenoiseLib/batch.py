"""Many volumes in a row: all CT volumes of the scene, or a folder of files and DICOM series."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import volumes
from .engine import EngineError
from .options import DenoiseOptions

SUFFIXES = (".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd")


class Batch:
    """Mixed into the logic: runs its requests one after another and waits."""

    def denoiseAll(
        self, volumeNodes: list[Any] | None = None, onDone: Callable[[Any], None] = lambda node: None, **options
    ) -> list[Any]:
        """Denoise volume nodes (by default every CT volume of the scene that was not made here); returns the output
        nodes.

        Raises what `denoise` raises; the outputs made before stay.
        """
        outputs = []
        for node in volumes.ct_volumes() if volumeNodes is None else volumeNodes:
            outputs.append(self.denoise(node, **options))
            onDone(outputs[-1])
        return outputs

    def denoiseFolder(
        self,
        inputFolder: str | Path,
        outputFolder: str | Path,
        onDone: Callable[[Path], None] = lambda path: None,
        **options,
    ) -> list[Path]:
        """Denoise every volume file, and every subfolder as a DICOM series, into another folder under the same names;
        the scene is not touched.

        Returns what was written. Raises EngineError for the first one that cannot be denoised.
        """
        source, target = Path(inputFolder), Path(outputFolder)
        if target.resolve() == source.resolve():
            raise EngineError("input", "The output folder is the input folder. Choose another one.")
        target.mkdir(parents=True, exist_ok=True)
        entries = [p for p in sorted(source.iterdir()) if p.is_dir() or p.name.lower().endswith(SUFFIXES)]
        fields = DenoiseOptions(**options).request()
        written = []
        for path in entries:
            self._denoise_file(path, target / path.name, fields)
            written.append(target / path.name)
            onDone(written[-1])
        return written

    def _denoise_file(self, path: Path, output: Path, fields: dict[str, Any]) -> None:
        errors: list[EngineError] = []
        self.request(
            "denoise",
            {**fields, "volume": {"path": str(path)}, "output": {"path": str(output)}},
            on_result=lambda reply: None,
            on_error=errors.append,
            on_cancelled=lambda: errors.append(EngineError("cancelled", "The batch was cancelled.")),
        )
        self.wait()
        if errors:
            raise errors[0]
