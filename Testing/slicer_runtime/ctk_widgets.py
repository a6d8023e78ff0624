"""Stand-ins for the CTK widgets that the module uses: same names, properties and signals, and similar enough for
screenshots.
"""

from __future__ import annotations

import sys
import types
from typing import Any

import qt
from PySide6.QtCore import Property, Signal

HEADER = 24  # px: height of a collapsible button's header


class ctkCollapsibleButton(qt.QWidget):
    """A titled section that folds. Its contents are the children laid out below the header."""

    STAND_IN = True
    contentsCollapsed = Signal(bool)
    toggled = Signal(bool)
    clicked = Signal(bool)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._text, self._collapsed, self._hidden = "", False, []
        self.setContentsMargins(0, HEADER, 0, 0)
        self.setSizePolicy(qt.QSizePolicy.Minimum, qt.QSizePolicy.Preferred)

    def _set_text(self, text: str) -> None:
        self._text = text
        self.update()

    def _set_collapsed(self, collapsed: bool) -> None:
        if collapsed == self._collapsed:
            return
        self._collapsed = collapsed
        self._apply()
        self.contentsCollapsed.emit(collapsed)
        self.toggled.emit(not collapsed)

    text = Property(str, lambda self: self._text, _set_text)
    collapsed = Property(bool, lambda self: self._collapsed, _set_collapsed)

    def _apply(self) -> None:
        children = [child for child in self.children() if isinstance(child, qt.QWidget)]
        if self._collapsed:
            self._hidden = [child for child in children if not child.isHidden()]
            for child in self._hidden:
                child.hide()
            self.setMaximumHeight(HEADER)
        else:
            for child in self._hidden:
                child.show()
            self._hidden = []
            self.setMaximumHeight(16777215)
        self.updateGeometry()

    def showEvent(self, event: Any) -> None:
        if self._collapsed:
            self._collapsed = False
            self._set_collapsed(True)
        super().showEvent(event)

    def mousePressEvent(self, event: Any) -> None:
        if event.position().y() < HEADER:
            self._set_collapsed(not self._collapsed)
            self.clicked.emit(not self._collapsed)

    def paintEvent(self, event: Any) -> None:
        option = qt.QStyleOptionButton()
        option.initFrom(self)
        option.rect = qt.QRect(0, 0, self.width, HEADER)
        option.state = qt.QStyle.State_Enabled | qt.QStyle.State_Raised
        painter = qt.QStylePainter(self)
        painter.drawControl(qt.QStyle.CE_PushButtonBevel, option)
        arrow = qt.QStyleOption()
        arrow.initFrom(self)
        arrow.rect = qt.QRect(6, (HEADER - 10) // 2, 10, 10)
        kind = qt.QStyle.PE_IndicatorArrowRight if self._collapsed else qt.QStyle.PE_IndicatorArrowDown
        painter.drawPrimitive(kind, arrow)
        painter.drawText(
            qt.QRect(22, 0, self.width - 26, HEADER), int(qt.Qt.AlignVCenter | qt.Qt.AlignLeft), self._text
        )


class ctkSliderWidget(qt.QWidget):
    """A slider and a spin box that share one floating-point value."""

    STAND_IN = True
    valueChanged = Signal(float)
    valueIsChanging = Signal(float)
    SIGNALS = ("valueChanged(double)", "valueIsChanging(double)")

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._slider = qt.QSlider(qt.Qt.Horizontal, self)
        self._spin_box = qt.QDoubleSpinBox(self)
        self._spin_box.setKeyboardTracking(False)
        row = qt.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._slider, 1)
        row.addWidget(self._spin_box)
        self._tracking = True
        self._slider.valueChanged.connect(self._slider_moved)
        self._slider.sliderReleased.connect(lambda: self.valueChanged.emit(self._spin_box.value))
        self._spin_box.valueChanged.connect(self._value_set)
        self._rescale()

    def _rescale(self) -> None:
        steps = round((self._spin_box.maximum - self._spin_box.minimum) / self._spin_box.singleStep)
        self._slider.blockSignals(True)
        self._slider.setRange(0, max(1, steps))
        self._slider.setValue(round((self._spin_box.value - self._spin_box.minimum) / self._spin_box.singleStep))
        self._slider.blockSignals(False)

    def _slider_moved(self, position: int) -> None:
        self._spin_box.setValue(self._spin_box.minimum + position * self._spin_box.singleStep)

    def _value_set(self, value: float) -> None:
        self._rescale()
        self.valueIsChanging.emit(value)
        if self._tracking or not self._slider.isSliderDown():
            self.valueChanged.emit(value)

    def _forward(name: str, kind: type) -> Any:
        def write(self: Any, value: Any) -> None:
            setattr(self._spin_box, name, value)
            self._rescale()

        return Property(kind, lambda self: getattr(self._spin_box, name), write)

    value = _forward("value", float)
    minimum = _forward("minimum", float)
    maximum = _forward("maximum", float)
    singleStep = _forward("singleStep", float)
    decimals = _forward("decimals", int)
    suffix = _forward("suffix", str)
    prefix = _forward("prefix", str)
    tracking = Property(bool, lambda self: self._tracking, lambda self, on: self.__dict__.update(_tracking=on))
    pageStep = _forward("singleStep", float)

    def setValue(self, value: float) -> None:
        self.value = value

    def setRange(self, minimum: float, maximum: float) -> None:
        self.minimum, self.maximum = minimum, maximum


class ctkPathLineEdit(qt.QWidget):
    """A line edit for a path, with a browse button."""

    STAND_IN = True
    Dirs, Files = 1, 2
    currentPathChanged = Signal(str)
    validInputChanged = Signal(bool)
    SIGNALS = ("currentPathChanged(QString)", "validInputChanged(bool)")

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._edit = qt.QLineEdit(self)
        self._button = qt.QToolButton(self)
        self._button.text = "…"
        row = qt.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._edit, 1)
        row.addWidget(self._button)
        self._edit.textChanged.connect(self._changed)
        self._valid = False
        self._filters = 0

    def _changed(self, path: str) -> None:
        """An empty line is not valid input and does not count as a change of the path."""
        if bool(path) != self._valid:
            self._valid = bool(path)
            self.validInputChanged.emit(self._valid)
        if path:
            self.currentPathChanged.emit(path)

    currentPath = Property(str, lambda self: self._edit.text, lambda self, path: self._edit.setText(path))
    filters = Property(int, lambda self: self._filters, lambda self, value: self.__dict__.update(_filters=value))
    settingKey = Property(str, lambda self: "", lambda self, key: None)
    nameFilters = Property("QStringList", lambda self: [], lambda self, patterns: None)


class ctkComboBox(qt.QComboBox):
    """CTK's combo box elides long texts; otherwise Qt's."""


class ctkDoubleSpinBox(qt.QDoubleSpinBox):
    """CTK's spin box; otherwise Qt's."""


class ctkMessageBox(qt.QMessageBox):
    """A message box with "don't show again" (never used here)."""


class ctkSettings(qt.QSettings):
    """Slicer's settings object."""


WIDGETS = (ctkCollapsibleButton, ctkSliderWidget, ctkPathLineEdit, ctkComboBox, ctkDoubleSpinBox)


def install() -> types.ModuleType:
    """Put the module `ctk` into `sys.modules`."""
    ctk = types.ModuleType("ctk")
    for cls in (*WIDGETS, ctkMessageBox, ctkSettings):
        setattr(ctk, cls.__name__, cls)
    for unused in (
        "ctkCheckBox",
        "ctkCheckablePushButton",
        "ctkDoubleSlider",
        "ctkRangeWidget",
        "ctkDoubleRangeSlider",
    ):
        setattr(ctk, unused, type(unused, (qt.QWidget,), {}))  # Slicer's own parameterNodeWrapper names these types
    for unused in ("ctkDirectoryButton", "ctkColorPickerButton"):
        setattr(ctk, unused, type(unused, (qt.QWidget,), {}))
    sys.modules["ctk"] = ctk
    return ctk
