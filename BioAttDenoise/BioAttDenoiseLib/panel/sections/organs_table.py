"""The table of the page "Organs": one row per organ, with a spin box for its strength."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import qt
from slicer.i18n import tr as _

from ...signals import connect

STRENGTH_COLUMN = 2
AS_ALL = -1
"""Spin box value of an organ that gets the overall strength."""


class OrgansTable:
    """Fills a QTableWidget. onOrgan(name) is called when a row is selected, onStrength(text) when a strength is set,
    with all set strengths as JSON, {organ: percent}.
    """

    def __init__(self, table: Any, onOrgan: Callable[[str], None], onStrength: Callable[[str], None]) -> None:
        self.table, self.onOrgan, self.onStrength = table, onOrgan, onStrength
        self._names: list[str] = []
        self._percent: dict[str, int] = {}
        self._boxes: list[Any] = []
        table.setHorizontalHeaderLabels(
            [_("Organ"), _("Noise, HU"), _("Strength"), _("CNR"), _("Mean, HU"), _("Shift, HU"), _("Volume, mL")]
        )
        header = table.horizontalHeader()
        header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        connect(table, "itemSelectionChanged()", self._selected)

    def selected(self) -> str:
        """The organ of the selected row, empty for none."""
        row = self.table.currentRow()
        return self._names[row] if 0 <= row < len(self._names) and self.table.selectedItems() else ""

    def fill(self, table: Mapping[str, Any], segments: list[dict[str, Any]]) -> None:
        """Show an organ table; segments give the organs' colors."""
        self.clear()
        colors = {segment["name"]: segment["color"] for segment in segments}
        rows = table["organs"]
        self.table.blockSignals(True)
        self.table.setRowCount(len(rows))
        for number, row in enumerate(rows):
            self._names.append(row["organ"])
            for column, (text, tip) in enumerate(cells(row)):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(tip or text)
                item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable)
                if column == 0 and row["organ"] in colors:
                    item.setIcon(_swatch(colors[row["organ"]]))
                self.table.setItem(number, column, item)
            self._add_box(number, row["organ"])
        self.table.blockSignals(False)

    def clear(self) -> None:
        """Clear the table. Set strengths are kept."""
        self.table.blockSignals(True)
        self.table.clearSelection()
        self.table.setRowCount(0)
        self.table.blockSignals(False)
        self._names, self._boxes = [], []

    def setStrengths(self, text: str) -> None:
        """Set strengths from JSON; invalid entries are dropped."""
        try:
            found = json.loads(text)
        except ValueError:
            found = {}
        self._percent = {str(name): int(value) for name, value in found.items()} if isinstance(found, dict) else {}
        for name, box in zip(self._names, self._boxes, strict=True):
            box.blockSignals(True)
            box.value = self._percent.get(name, AS_ALL)
            box.blockSignals(False)

    def strengths(self) -> dict[str, float]:
        """Strength, 0 … 1, of each organ with an individual strength."""
        return {name: percent / 100 for name, percent in sorted(self._percent.items())}

    def _add_box(self, row: int, name: str) -> None:
        box = qt.QSpinBox()
        box.setRange(AS_ALL, 100)
        box.specialValueText = _("as all")
        box.suffix = " %"
        box.setKeyboardTracking(False)
        box.accessibleName = _("Strength of {organ}").format(organ=name)
        box.toolTip = _("Strength in this organ for the next denoising. The lowest value uses the strength slider.")
        box.value = self._percent.get(name, AS_ALL)
        connect(box, "valueChanged(int)", lambda value, name=name: self._set(name, value))
        self.table.setCellWidget(row, STRENGTH_COLUMN, box)
        self._boxes.append(box)

    def _set(self, name: str, percent: int) -> None:
        if percent == AS_ALL:
            self._percent.pop(name, None)
        else:
            self._percent[name] = percent
        self.onStrength(json.dumps(self._percent, sort_keys=True))

    def _selected(self) -> None:
        name = self.selected()
        if name:
            self.onOrgan(name)


def cells(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(text, tool tip) of a row's cells; an empty tool tip is the text. The strength's cell is empty."""
    shift = _number(row["shift"], "+.1f")
    moved = ""
    if row["moved"]:
        shift = f"⚠ {shift}"
        moved = _("The mean changed by more than noise explains ({limit:.1f} HU).").format(limit=row["shift_limit"])
    cut = _("The scan truncates this organ.") if row["cut_off"] else ""
    bound = _("Includes anatomical variation: an upper bound on the noise.") if row["noise_is_bound"] else ""
    return [
        (row["organ"], ""),
        (_pair(row, "noise", ".1f", "≤ " if row["noise_is_bound"] else ""), bound),
        ("", ""),
        (_pair(row, "cnr", ".1f"), ""),
        (_pair(row, "mean", ".0f"), ""),
        (shift, moved),
        (_number(row["volume_ml"], ".0f", "> " if row["cut_off"] else ""), cut),
    ]


def _pair(row: Mapping[str, Any], name: str, digits: str, mark: str = "") -> str:
    before, after = row[f"{name}_before"], row[f"{name}_after"]
    text = _number(before, digits, mark)
    return text if after is None else f"{text} → {_number(after, digits)}"


def _number(value: float | None, digits: str, mark: str = "") -> str:
    return "–" if value is None else mark + f"{value:{digits}}".replace("-", "−")


def _swatch(color: Any) -> Any:
    picture = qt.QPixmap(12, 12)
    picture.fill(qt.QColor(*(round(255 * part) for part in color)))
    return qt.QIcon(picture)
