"""Combo boxes with entries determined at run time, bound to a text parameter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from bioatt.anatomy.descriptors import load_descriptor_set
from bioatt.core.errors import InputError
from bioatt.priors.simple import FixedPrior

from ..signals import connect


class Choice:
    """Binds a QComboBox to the text parameter `name`: entries are (value, label, tooltip, enabled).

    A value that is not among the entries (e.g. a scene from another computer) is kept and shown as missing.
    """

    def __init__(self, comboBox: Any, name: str) -> None:
        self.comboBox, self.name = comboBox, name
        self.values: list[str] = []
        self.parameters: Any = None
        connect(comboBox, "currentIndexChanged(int)", self._chosen)

    def setEntries(self, entries: list[tuple[str, str, str, bool]]) -> None:
        """Replace the entries; the selection is kept."""
        self.comboBox.blockSignals(True)
        self.comboBox.clear()
        self.values = []
        for value, label, toolTip, enabled in entries:
            self.values.append(value)
            self.comboBox.addItem(label)
            index = len(self.values) - 1
            self.comboBox.setItemData(index, toolTip, qt.Qt.ToolTipRole)
            if not enabled:
                self.comboBox.setItemData(index, 0, qt.Qt.UserRole - 1)  # Qt's role for a disabled entry
        self.comboBox.blockSignals(False)
        self.update()

    def setParameters(self, parameters: Any) -> None:
        """Bind to a parameter node (None: to none)."""
        self.parameters = parameters
        self.update()

    def update(self) -> None:
        """Show the parameter's value."""
        if self.parameters is None:
            return
        value = getattr(self.parameters, self.name)
        self.comboBox.blockSignals(True)
        if value not in self.values:
            self.values.append(value)
            self.comboBox.addItem(value.replace("\\", "/").rsplit("/", 1)[-1])
            self.comboBox.setItemData(len(self.values) - 1, value, qt.Qt.ToolTipRole)
        self.comboBox.currentIndex = self.values.index(value)
        self.comboBox.blockSignals(False)

    def _chosen(self, index: int) -> None:
        if self.parameters is not None and 0 <= index < len(self.values):
            setattr(self.parameters, self.name, self.values[index])


class FileChoice(Choice):
    """A choice whose last entry asks for a JSON file and stores its path as the parameter's value.

    check(path) raises InputError for an unusable file; say(text) shows the reason, and the selection is kept.
    """

    PICK = "\0"  # not a valid parameter value

    def __init__(
        self, comboBox: Any, name: str, title: str, check: Callable[[Path], Any], say: Callable[[str], None]
    ) -> None:
        super().__init__(comboBox, name)
        self.title, self.check, self.say = title, check, say

    def setEntries(self, entries: list[tuple[str, str, str, bool]]) -> None:
        super().setEntries([*entries, (self.PICK, _("From a file…"), self.title, True)])

    def _chosen(self, index: int) -> None:
        if not 0 <= index < len(self.values) or self.values[index] != self.PICK:
            super()._chosen(index)
            return
        path = qt.QFileDialog.getOpenFileName(self.comboBox, self.title, "", "JSON (*.json)")
        path = path[0] if isinstance(path, tuple) else path  # PythonQt returns a string
        try:
            if path and self.parameters is not None:
                self.check(Path(path))
                self.say("")
                setattr(self.parameters, self.name, str(path))
        except InputError as error:
            self.say(f"⚠ {error}")
        self.update()


def choices_of(ui: Any, say: Callable[[str], None]) -> list[Choice]:
    """The panel's choices of model, source of anatomy and descriptor set. say(text): see FileChoice."""
    prior = _("Probabilities by slice, as written by bioatt prior --json")
    descriptors = _("A custom descriptor set (.json)")
    return [
        Choice(ui.modelComboBox, "model"),
        FileChoice(ui.priorComboBox, "prior", prior, FixedPrior.from_file, say),
        FileChoice(ui.descriptorsComboBox, "descriptors", descriptors, load_descriptor_set, say),
    ]


def name_in_tool_tip(selector: Any, label: Any) -> None:
    """Long names do not fit into a node selector: show the full name in its tool tip, above the label's."""
    node = selector.currentNode()
    selector.toolTip = f"{node.GetName()}\n\n{label.toolTip}" if node is not None else label.toolTip
