"""The page "Engine": model, device and source of anatomy."""

from __future__ import annotations

from typing import Any

from ...engine import catalogue
from ...engine.options import takes_descriptors
from ..choices import choices_of
from .section import Section


class ComputingSection(Section):
    """See BioAttDenoiseComputing.ui."""

    uiFile = "BioAttDenoiseComputing.ui"
    place = "computingPage"

    def setup(self) -> None:
        self.model, self.prior, self.descriptors = choices_of(self.ui, self.panel.showStatus)
        self.refresh()

    def refresh(self) -> None:
        """Update the lists of models and sources of anatomy."""
        self.model.setEntries(catalogue.model_choices())
        self.prior.setEntries(catalogue.prior_choices())
        self.descriptors.setEntries(catalogue.descriptor_choices())

    def connectParameters(self, parameters: Any) -> None:
        super().connectParameters(parameters)
        for choice in (self.model, self.prior, self.descriptors):
            choice.setParameters(parameters)

    def update(self) -> None:
        panel, ui = self.panel, self.ui
        own = panel.parameters is not None and takes_descriptors(panel.parameters.prior)
        ui.descriptorsLabel.visible = ui.descriptorsComboBox.visible = own
        ui.deviceFoundLabel.text = panel.readiness.devices_text
        ui.deviceFoundLabel.visible = bool(panel.readiness.devices)
        for field in (
            ui.modelComboBox,
            ui.priorComboBox,
            ui.descriptorsComboBox,
            ui.deviceComboBox,
            ui.tileSpinBox,
            ui.precisionComboBox,
        ):
            field.enabled = panel.idle
        for choice in (self.model, self.prior, self.descriptors):
            choice.update()
