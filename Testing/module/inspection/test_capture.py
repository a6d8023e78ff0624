"""The saved figure: panel layout, pixels of the views, length of the scale bar, files written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import zlib

import numpy as np
import pytest

from bioatt.core.strength import DEFAULT_STRENGTH


@pytest.fixture
def figure(slicer, pair):
    from BioAttDenoiseLib.inspection import capture
    from BioAttDenoiseLib.inspection.comparison import Comparison

    comparison = Comparison()
    comparison.start(*pair, "grid")
    yield capture, comparison
    comparison.leave()


def test_the_panels_hold_the_views(slicer, figure):
    capture, comparison = figure
    rows = capture.panels(comparison)
    assert [[panel.name for panel in row] for row in rows] == [
        ["BioAttInput", "BioAttOutput"],
        ["BioAttDifference", "BioAttAttention"],
    ]
    panel = rows[0][0]
    widget = slicer.app.layoutManager().sliceWidget("BioAttInput")
    factor = panel.image.shape[0] // 320
    assert factor >= 2
    seen = widget.image()
    np.testing.assert_array_equal(panel.image[::factor, ::factor], seen[..., :3] * (seen[..., 3:] > 0))
    assert "W 350 L 45 HU" in panel.caption
    assert "slice 5" in panel.caption


@pytest.mark.parametrize("loaded", [True, False])
def test_a_view_that_shows_something_else_is_not_captioned(slicer, figure, make_ct, loaded):
    capture, comparison = figure
    found = make_ct(name="another") if loaded else None
    comparison.composite("BioAttOutput").SetBackgroundVolumeID(found and found.GetID())
    with pytest.raises(ValueError, match='view for "CT denoised" shows ' + ('"another"' if loaded else "no volume")):
        capture.panels(comparison)


def test_a_figure_saved_while_it_flickers_shows_each_in_its_own_view(slicer, figure):
    capture, comparison = figure
    expected = capture.panels(comparison)[0][1]
    comparison.flicker()
    found = capture.panels(comparison)[0][1]
    assert found.caption == expected.caption
    np.testing.assert_array_equal(found.image, expected.image)


def test_the_scale_bar_has_its_length(figure):
    capture, _comparison = figure
    black = np.zeros((400, 800, 3), np.uint8)
    drawn = capture._with_bars(capture.Panel("BioAttInput", black, 0.25, ""))
    bar = (drawn[-21] == 255).all(axis=1)
    assert bar.sum() * 0.25 == pytest.approx(50, abs=0.5)


def test_captions_and_notice_are_written(figure):
    capture, comparison = figure
    rows = capture.panels(comparison)
    image = capture.figure(rows, "BioAttDenoise, model x")
    assert image[: capture.LINE].max() == 255
    assert image[-2 * capture.LINE :].max() == 255
    empty = capture.figure(rows, "")
    assert (image != empty).any()


def test_the_figure_says_what_the_prior_was_made_of(make_driver, make_ct, tmp_path):
    from BioAttDenoiseLib.inspection.capture import settings_line

    file = tmp_path / "prior.json"
    file.write_text(json.dumps({"descriptors": ["lungs", "heart", "liver"], "probabilities": [0.1, 0.2, 0.7]}))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    make_ct()
    driver = make_driver()
    driver.behave("steady")
    driver.parameters.prior = str(file)
    driver.denoise()
    output = driver.parameters.outputVolume
    assert output.GetAttribute("BioAttDenoise.PriorFilesSHA256") == digest
    assert output.GetAttribute("BioAttDenoise.DescriptorSetSHA256") == "d" * 64
    assert f"({digest[:8]}) over three (dddddddd)" in settings_line(output)
    driver.parameters.prior = "maps"
    driver.denoise()
    assert driver.parameters.outputVolume.GetAttribute("BioAttDenoise.PriorFilesSHA256") is None
    assert f"prior maps over three (dddddddd), strength {DEFAULT_STRENGTH:g}" in settings_line(
        driver.parameters.outputVolume
    )


@pytest.mark.parametrize(
    ("marked", "said"),
    [
        (None, ""),
        ((), "; structure check: nothing found"),
        ((1,), "; structure check: nothing in this view"),
        ((1, 4), "; green outline: structure removed"),
    ],
    ids=["no check", "nothing found", "on another slice", "on this slice"],
)
def test_the_figure_says_what_the_check_found_in_the_view(slicer, figure, pair, marked, said):
    from BioAttDenoiseLib.scene import slice_views

    capture, comparison = figure
    if marked is not None:
        node = slice_views.hidden_volume("marks", pair[0], "vtkMRMLLabelMapVolumeNode")
        marks = np.zeros(slicer.util.arrayFromVolume(pair[0]).shape, np.uint8)
        for z in marked:
            marks[z, 20:24, 20:24] = 1
        slicer.util.updateVolumeFromArray(node, marks)
        comparison.composite("BioAttDifference").SetLabelVolumeID(node.GetID())
    panel = capture.panels(comparison)[1][0]
    assert panel.caption == f"Denoised - input, -50 (blue) to +50 HU (red){said}"


def test_png_and_pdf_hold_the_same_picture(figure, tmp_path):
    import matplotlib.image

    capture, comparison = figure
    image = capture.figure(capture.panels(comparison), "settings")
    capture.write_figure(tmp_path / "a.png", image)
    np.testing.assert_array_equal(np.round(matplotlib.image.imread(tmp_path / "a.png")[..., :3] * 255), image)
    capture.write_figure(tmp_path / "a.pdf", image)
    data = (tmp_path / "a.pdf").read_bytes()
    assert data.startswith(b"%PDF")
    assert b"/Width %d\n/Height %d\n" % (image.shape[1], image.shape[0]) in data
    streams = [part.split(b"\nendstream")[0] for part in data.split(b"stream\n")[1::2]]
    assert image.tobytes() in [zlib.decompress(stream) for stream in streams if stream[:1] == b"x"], "no voxel is lost"
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["a.pdf", "a.png"]


def test_an_unwritable_place_leaves_nothing(figure, tmp_path):
    capture, _comparison = figure
    with pytest.raises(OSError, match="No such file"):
        capture.write_figure(tmp_path / "none" / "a.png", np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(ValueError, match="png or"):
        capture.write_figure(tmp_path / "a.jpg", np.zeros((4, 4, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_the_difference_in_a_figure_has_its_color_bar(slicer, figure):
    from BioAttDenoiseLib.scene import colour

    capture, comparison = figure
    panel = capture.panels(comparison)[1][0]
    picture = capture._with_bars(panel)
    column = picture[:, picture.shape[1] - 92]
    top, bottom = (255 * colour.ramp(colour.DIFFERENCE)[[-1, 0]]).astype(np.uint8)
    assert (column == top).all(axis=1).any()
    assert (column == bottom).all(axis=1).any()
    assert top[0] > 1.3 * top[1:].max(), "red, as the caption says"
    assert bottom[2] > 1.3 * bottom[:2].max(), "blue"


def test_a_figure_says_where_right_and_left_are(slicer, figure):
    """Each panel takes its letters from its own view: a slice seen from the head has right and left swapped."""
    capture, comparison = figure
    assert {panel.edges for row in capture.panels(comparison) for panel in row} == {"RLAP"}
    view = comparison.layouts.views()["BioAttInput"]
    matrix = view.GetSliceToRAS()
    for row in range(3):
        matrix.SetElement(row, 0, -matrix.GetElement(row, 0))
    view.UpdateMatrices()
    assert capture.panels(comparison)[0][0].edges == "LRAP"
    view.SetOrientation("Coronal")
    assert capture.panels(comparison)[0][0].edges == "RLSI"
    black = np.zeros((300, 300, 3), np.uint8)
    drawn = capture._with_letters(black.copy(), "RLAP").max(axis=2) > 200
    assert [drawn[:, :30].any(), drawn[:, -30:].any(), drawn[:40].any(), drawn[-40:].any()] == [True] * 4
    assert not drawn[60:130].any()
