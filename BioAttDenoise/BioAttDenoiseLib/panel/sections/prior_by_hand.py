"""The prior of a slice set by hand: one slider per structure, and a preview of the effect."""

from __future__ import annotations

from typing import Any

import numpy as np
import qt
from slicer.i18n import tr as _

from ...inspection.attention_maps import SlicePrior
from ...signals import connect

SETTLE_MS = 150
"""Idle time of the sliders before the preview starts."""


class PriorByHand:
    """Sliders in a checkable group box. live is the panel's `LivePreview`: while the box is checked, its previews use
    the sliders' p (normalized to sum 1) instead of the source's.
    """

    def __init__(self, groupBox: Any, widget: Any, live: Any) -> None:
        self.groupBox, self.widget, self.live = groupBox, widget, live
        self.sliders: list[Any] = []
        self.descriptors: tuple[str, ...] = ()
        self._shown: tuple[SlicePrior | None, int] = (None, 0)
        self._settle = qt.QTimer()
        self._settle.setSingleShot(True)
        self._settle.setInterval(SETTLE_MS)
        connect(self._settle, "timeout()", self.preview)
        connect(groupBox, "toggled(bool)", self.onToggled)

    def show(self, prior: SlicePrior | None, index: int) -> None:
        """Set the current slice and its prior; sliders that the user is moving stay."""
        self._shown = prior, index
        if not self.groupBox.checked:
            self._fill()

    def reset(self) -> None:
        """Another volume: discard the values set for the previous one."""
        self._shown = None, 0
        self._settle.stop()
        self.groupBox.checked = False
        self.live.preview.p = None

    def onToggled(self, checked: bool) -> None:
        """Switch off and return to the source's prior."""
        self.live.preview.p = None
        if checked:
            self._fill()
        else:
            self._settle.stop()
            self.live.clear()

    def preview(self) -> None:
        """Denoise the current slice with the sliders' p."""
        values = np.array([slider.value for slider in self.sliders], float)
        if not self.groupBox.checked or not values.sum():
            return
        self.live.preview.p = dict(zip(self.descriptors, (values / values.sum()).tolist(), strict=True))
        self.live.request()

    def _fill(self) -> None:
        prior, index = self._shown
        p = prior.at(max(index, 0)) if prior is not None else None
        if prior is None or p is None:
            return
        if self.descriptors != tuple(prior.descriptors):
            self._make_sliders(prior.descriptors)
        for slider, value in zip(self.sliders, p, strict=True):
            slider.blockSignals(True)
            slider.value = round(100 * float(value))
            slider.blockSignals(False)

    def _make_sliders(self, descriptors: tuple[str, ...]) -> None:
        form = self.widget.layout()
        for old in self.sliders:
            for widget in (form.labelForField(old), old):
                widget.setParent(None)
        self.sliders, self.descriptors = [], tuple(descriptors)
        for name in descriptors:
            slider = qt.QSlider(qt.Qt.Horizontal)
            slider.setRange(0, 100)
            slider.toolTip = _("Weight of {name}. The weights are normalized to sum to 1.").format(name=name)
            connect(slider, "valueChanged(int)", lambda value: self._settle.start())
            form.addRow(name, slider)
            self.sliders.append(slider)
