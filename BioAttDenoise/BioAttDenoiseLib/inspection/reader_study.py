"""A reader study: pairs of low dose, denoised and reference, blinded and in random order, scored from 1 to 5.

The side of each volume is stored with the score but never shown: the views hold hidden volumes named "1" and "2".
"""

from __future__ import annotations

import csv
import itertools
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from ..scene import layouts, regions, slice_views, volumes
from ..scene.windows import SameWindow

LOW, DENOISED, REFERENCE = "low dose", "denoised", "reference"
SCORES = (1, 2, 3, 4, 5)
"""1: the left one is much better; 3: no difference; 5: the right one is much better."""
MARGIN = 0.1
"""Fraction of the slices at either end that no trial shows."""
COLUMNS = (
    "reader", "seed", "trials", "trial", "case", "slice", "left", "right", "score", "seconds", "window", "level",
    "model", "strength",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """The volumes of one scan by kind; model and strength of the denoised one."""

    name: str
    volumes: dict[str, Any]
    model: str
    strength: str


@dataclass(frozen=True)
class Trial:
    """One pair to score; index is the slice index along the scan's axial axis."""

    number: int
    case: Case
    index: int
    left: str
    right: str


def cases_of_scene() -> list[Case]:
    """Every output of the scene with its input, and with the input's reference if it has the same voxel grid. Sorted by
    name, so that a plan does not depend on the loading order.
    """
    found = []
    for output in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"):
        source = output.GetNodeReference(volumes.INPUT_ROLE)
        if source is None or not slice_views.same_grid(source, output):
            continue
        kinds = {LOW: source, DENOISED: output}
        reference = source.GetNodeReference(volumes.REFERENCE_ROLE)
        if slice_views.same_grid(source, reference):
            kinds[REFERENCE] = reference
        made = [output.GetAttribute(f"{volumes.ATTRIBUTE}{name}") or "" for name in ("Model", "Strength")]
        found.append(Case(output.GetName(), kinds, *made))
    return sorted(found, key=lambda case: case.name)


def plan(cases: list[Case], slices: int, seed: int) -> list[Trial]:
    """Every pair of every case on `slices` slices, with random sides and order; reproducible from seed and cases."""
    rng = np.random.default_rng(seed)
    drawn = []
    for case in cases:
        source = case.volumes[LOW]
        count = slicer.util.arrayFromVolume(source).shape[regions.axial_axis(volumes.ijk_to_ras(source))]
        first = min(math.ceil(MARGIN * count), count - 1)
        last = max(count - first, first + 1)
        for pair in itertools.combinations(case.volumes, 2):
            chosen = rng.choice(np.arange(first, last), min(slices, last - first), replace=False)
            for index in chosen:
                left, right = pair if rng.random() < 0.5 else pair[::-1]
                drawn.append((case, int(index), left, right))
    order = rng.permutation(len(drawn))
    return [Trial(number + 1, *drawn[place]) for number, place in enumerate(order)]


class Scores:
    """The CSV file of a study: one line per score, written immediately. A file of the same study is resumed."""

    def __init__(self, path: Path, reader: str, seed: int, trials: list[Trial]) -> None:
        """Raises ValueError if the file is of another study, OSError if it cannot be read."""
        self.path, self.reader, self.seed, self.trials = path, reader, seed, trials
        self.rows: list[dict[str, Any]] = []
        if path.exists():
            with path.open(encoding="utf-8-sig", newline="") as file:
                self.rows = list(csv.DictReader(file))
            if not all(self._is_of_this_study(row) for row in self.rows):
                raise ValueError(_("{name} belongs to another study: choose another file.").format(name=path.name))

    @property
    def next(self) -> Trial | None:
        """The first trial without a score."""
        done = {row["trial"] for row in self.rows}
        return next((trial for trial in self.trials if str(trial.number) not in done), None)

    def add(self, trial: Trial, score: int, seconds: float, window: float, level: float) -> None:
        """Write a score. Raises OSError."""
        values = (self.reader, self.seed, len(self.trials), trial.number, trial.case.name, trial.index + 1, trial.left,
                  trial.right, score, f"{seconds:.1f}", f"{window:g}", f"{level:g}", trial.case.model,
                  trial.case.strength)  # fmt: skip
        self._write([*self.rows, {name: str(value) for name, value in zip(COLUMNS, values, strict=True)}])

    def undo(self) -> None:
        """Undo the last score. Raises OSError."""
        self._write(self.rows[:-1])

    def _write(self, rows: list[dict[str, Any]]) -> None:
        partial = self.path.with_name(f".{self.path.name}.partial")
        with partial.open("w", encoding="utf-8-sig", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        partial.replace(self.path)
        self.rows = rows

    def _is_of_this_study(self, row: dict[str, Any]) -> bool:
        known = {str(trial.number): trial for trial in self.trials}
        trial = known.get(row.get("trial") or "")
        said = (row.get("reader"), row.get("seed"), row.get("trials"))
        if trial is None or said != (self.reader, str(self.seed), str(len(self.trials))):
            return False
        return (row["case"], row["slice"], row["left"]) == (trial.case.name, str(trial.index + 1), trial.left)


class ReaderStudy:
    """Shows the trials of a study one by one in two linked views."""

    def __init__(self) -> None:
        self.layouts = layouts.Layouts()
        self.scores: Scores | None = None
        self.trial: Trial | None = None
        self._nodes: list[Any] = []
        self._window = SameWindow()
        self._since = 0.0

    @property
    def active(self) -> bool:
        return self.layouts.active

    def start(self, scores: Scores) -> None:
        """Start or resume. Raises RuntimeError without views."""
        self.layouts.show(layouts.BLIND)
        self.scores = scores
        self._show()

    def score(self, value: int) -> None:
        """Store the score of the pair on screen and show the next. Raises OSError if it cannot be written."""
        if self.scores is None or self.trial is None:
            return
        display = self._nodes[0].GetDisplayNode()
        seconds = time.monotonic() - self._since
        self.scores.add(self.trial, value, seconds, display.GetWindow(), display.GetLevel())
        self._show()

    def back(self) -> None:
        """Return to the last scored pair and discard its score. Raises OSError."""
        if self.scores is not None and self.scores.rows:
            self.scores.undo()
            self._show()

    def stop(self) -> None:
        """Restore the previous layout; scores stay in their file."""
        if self.active:
            self._forget()
            self.layouts.leave()
        self.scores = self.trial = None

    def _show(self) -> None:
        assert self.scores is not None
        window = self._nodes[0].GetDisplayNode() if self._nodes else None
        kept = (window.GetWindow(), window.GetLevel()) if window is not None else None
        self._forget()
        self.trial = self.scores.next
        if self.trial is None:
            return
        case, places = self.trial.case, layouts.BLIND_VIEWS
        for name, kind, view_name in zip(("1", "2"), (self.trial.left, self.trial.right), places, strict=True):
            source = case.volumes[kind]
            node = slice_views.hidden_volume(name, source)
            node.SetAndObserveImageData(source.GetImageData())
            volumes.copy_look(case.volumes[LOW].GetDisplayNode(), node.GetDisplayNode())
            if kept is not None:
                node.GetDisplayNode().SetWindowLevel(*kept)
            self._nodes.append(node)
            self._fill(self.layouts.views()[view_name], node)
        self._window = SameWindow(*self._nodes)
        self._since = time.monotonic()

    def _fill(self, view: Any, node: Any) -> None:
        assert self.trial is not None
        view.SetOrientation("Axial")
        if volumes.straight(node):
            view.RotateToVolumePlane(node)
        composite = slice_views.composite_of(view)
        composite.SetSaveWithScene(False)
        composite.SetDoPropagateVolumeSelection(False)
        composite.SetForegroundVolumeID(None)
        composite.SetLabelVolumeID(None)
        composite.SetBackgroundVolumeID(node.GetID())
        composite.SetLinkedControl(True)
        composite.SetHotLinkedControl(True)
        logic = slicer.app.applicationLogic().GetSliceLogic(view)
        if logic is not None:
            logic.FitSliceToBackground()
        matrix = volumes.ijk_to_ras(node)
        ijk = (np.array(node.GetImageData().GetDimensions()) - 1) / 2
        ijk[2 - regions.axial_axis(matrix)] = self.trial.index
        view.JumpSliceByOffsetting(*volumes.to_world(node, [(matrix @ [*ijk, 1.0])[:3]])[0])

    def _forget(self) -> None:
        self._window.stop()
        for node in self._nodes:
            slice_views.remove(node)
        self._nodes = []
