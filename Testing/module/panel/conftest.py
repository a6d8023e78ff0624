"""Fixtures of the panel's tests."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def organs(slicer, make_ct, make_driver, views):
    """A driver with a loaded scan; driver.section and driver.organs are the section and its widgets."""
    node = make_ct(slices=12, size=48)
    slicer.util.setSliceViewerLayers(background=node, fit=True)
    driver = make_driver()
    driver.behave("steady")
    driver.section = next(s for s in driver.panel.sections if type(s).__name__ == "OrgansSection")
    driver.organs = driver.section.ui
    return driver


@pytest.fixture
def measured(organs):
    """The same, with the section open and the organs measured before and after."""
    organs.ui.anatomyCollapsibleButton.collapsed = False
    organs.click(organs.organs.denoiseAndMeasureButton)
    organs.wait_idle()
    return organs
