"""What the tests of overlay, comparison, chart, numbers and capture share."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def pair(slicer, make_ct):
    """An input and an output of the same geometry: smoothed input, with Slicer's views on the input."""
    from scipy.ndimage import gaussian_filter

    from BioAttDenoiseLib.scene import volumes

    before = make_ct(slices=9, size=48, name="CT")
    hu = slicer.util.arrayFromVolume(before)
    hu[:, 10:20, 24:34] += 60  # something to recognise
    slicer.util.arrayFromVolumeModified(before)
    after = volumes.make_output(before, None, "CT denoised")
    slicer.util.updateVolumeFromArray(after, gaussian_filter(hu.astype(np.float32), (0, 1, 1)).round().astype(np.int16))
    manager = slicer.app.layoutManager()
    manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    for name in manager.sliceViewNames():
        composite = manager.sliceWidget(name).mrmlSliceCompositeNode()
        composite.SetBackgroundVolumeID(before.GetID())
        manager.sliceWidget(name).fitSliceToBackground()
    return before, after


@pytest.fixture
def drag(slicer):
    """drag(slice widget, window, level) sets the window as Slicer's mouse tool does with the mouse in mid view."""

    def set_window(widget, window, level):
        logic = widget.sliceLogic()
        place = [widget.mrmlSliceNode().GetSliceToRAS().GetElement(row, 3) for row in range(3)]
        if logic.GetEditableLayerAtWorldPosition(place) == logic.LayerForeground:
            logic.SetForegroundWindowLevel(window, level)
        else:
            logic.SetBackgroundWindowLevel(window, level)

    return set_window


@pytest.fixture
def maps(slicer, pair):
    """Attention maps of the pair at stage "last": lungs (0.1, in a square 0.9), liver (0.2) and the unified map."""
    from BioAttDenoiseLib.inspection.attention_maps import AttentionMaps, SlicePrior
    from BioAttDenoiseLib.scene import regions, volumes

    shape = slicer.util.arrayFromVolume(pair[0]).shape
    region = regions.whole_region(shape, volumes.ijk_to_ras(pair[0]))
    p = np.linspace(0.2, 0.8, shape[0], dtype=np.float32)
    prior = SlicePrior(("lungs", "liver"), np.stack([p, 1 - p], axis=1), 0, "embedded")
    lungs, liver = np.full(shape, 26, np.uint8), np.full(shape, 51, np.uint8)
    lungs[:, 12:36, 12:36] = 230
    unified = ((lungs * p[:, None, None]) + liver * (1 - p[:, None, None])).round().astype(np.uint8)
    return AttentionMaps(
        region, shape, prior, {("last", "lungs"): lungs, ("last", "liver"): liver, ("last", "unified"): unified}
    )


@pytest.fixture
def story(slicer, make_ct, make_driver, views):
    """A driver whose volume has been denoised, with the sections open."""
    node = make_ct(slices=9, size=48)
    slicer.util.setSliceViewerLayers(background=node, fit=True)
    driver = make_driver()
    driver.behave("steady")
    driver.sections = {type(section).__name__: section for section in driver.panel.sections}
    for section in driver.panel.sections:
        for child in section.widget.children():
            if child.className() == "ctkCollapsibleButton":
                child.collapsed = False
    driver.denoise()
    return driver
