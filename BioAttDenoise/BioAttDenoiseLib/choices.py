"""Combo boxes whose entries are found at run time, bound to a text parameter."""

from __future__ import annotations

from typing import Any


class Choice:
    """Binds a QComboBox to the text parameter `name`: entries are (value, label, tooltip, enabled).

    A value that is not among the entries (a scene from another computer) is kept and shown as missing.
    """

    def __init__(self, comboBox: Any, name: str) -> None:
        self.comboBox, self.name = comboBox, name
        self.values: list[str] = []
        self.parameters: Any = None
        comboBox.connect("currentIndexChanged(int)", self._chosen)

    def setEntries(self, entries: list[tuple[str, str, str, bool]]) -> None:
        """Offer these entries; the choice stays."""
        import qt

        self.comboBox.blockSignals(True)
        self.comboBox.clear()
        self.values = []
        for value, label, toolTip, enabled in entries:
            self.values.append(value)
            self.comboBox.addItem(label)
            index = len(self.values) - 1
            self.comboBox.setItemData(index, toolTip, qt.Qt.ToolTipRole)
            if not enabled:
                self.comboBox.setItemData(index, 0, qt.Qt.UserRole - 1)  # Qt's role for an entry that cannot be chosen
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
        self.comboBox.currentIndex = self.values.index(value)
        self.comboBox.blockSignals(False)

    def _chosen(self, index: int) -> None:
        if self.parameters is not None and 0 <= index < len(self.values):
            setattr(self.parameters, self.name, self.values[index])
