"""The tutorial's steps run on the stand-in engine and take the pictures that Docs/tutorial.md shows."""

from __future__ import annotations

import re
import runpy
import sys
from types import SimpleNamespace

import pytest
from places import DOCS, ROOT

SHOWN = re.findall(r"images/tutorial_(\w+)\.png", (DOCS / "tutorial.md").read_text(encoding="utf-8"))


@pytest.fixture
def driver(make_driver, monkeypatch):
    """A panel in an empty scene."""
    monkeypatch.syspath_prepend(str(ROOT / "Testing" / "screenshots"))
    driver = make_driver()
    driver.behave("steady")
    return driver


def test_every_picture_of_the_tutorial_is_taken(driver, until, views):
    """Each picture is of a view on screen that, except in "empty", shows a volume."""
    from story import tell

    taken = {}

    def take(name, view, title):
        background = views.sliceWidget(view).mrmlSliceCompositeNode().GetBackgroundVolumeID()
        taken[name] = (view in views.sliceViewNames(), background is not None)

    tell(driver.widget, take, until)
    assert list(taken) == SHOWN
    assert taken == {name: (True, name != "empty") for name in SHOWN}
    assert driver.errors == []
    assert "⚠" not in driver.status


def test_no_picture_cuts_the_patient(driver, until, views):
    """Every picture shows the whole width of the scan, even in a view that the comparison created."""
    from slicer_runtime.views import DEFAULT_SIZE
    from story import tell
    from window import BAR, fit, view_picture

    width, height = 90, 160

    def take(name, view, title):
        widget = views.sliceWidget(view)
        fit(widget, width, height)
        picture = view_picture(widget, width, height, title)
        assert (picture.width(), picture.height()) == (width, height)
        if name != "empty":
            node = driver.parameters.inputVolume
            across = widget.mrmlSliceNode().GetFieldOfView()
            assert across[0] >= node.GetSpacing()[0] * node.GetImageData().GetDimensions()[0] - 0.01
            assert across[0] / width == pytest.approx(across[1] / (height - BAR))

    tell(driver.widget, take, until)
    for name in ("Red", "BioAttInput"):
        views.sliceWidget(name).resize(*DEFAULT_SIZE)


def test_the_pictures_are_in_the_repository():
    assert all((DOCS / "images" / f"tutorial_{name}.png").is_file() for name in SHOWN)


def test_the_script_that_takes_them_in_slicer(driver, slicer, monkeypatch, tmp_path):
    """Stand-ins replace Slicer's main window and exit."""
    ended, picture = [], SimpleNamespace(save=lambda path: bool(open(path, "wb").close() or True))
    window = SimpleNamespace(resize=lambda *size: None, grab=lambda: picture)
    for name, stand_in in (
        ("mainWindow", lambda: window),
        ("selectModule", lambda name: None),
        ("forceRenderAllViews", lambda: None),
        ("exit", ended.append),
    ):
        monkeypatch.setattr(slicer.util, name, stand_in, raising=False)
    panel = SimpleNamespace(widgetRepresentation=lambda: driver.widget)
    monkeypatch.setattr(slicer.modules, "bioattdenoise", panel, raising=False)
    monkeypatch.setattr(sys, "argv", ["tutorial.py", str(tmp_path / "pictures")])
    runpy.run_path(str(ROOT / "Testing" / "in_slicer" / "tutorial.py"))
    assert ended == [0]
    assert {path.stem for path in (tmp_path / "pictures").iterdir()} == {f"tutorial_{name}" for name in SHOWN}
