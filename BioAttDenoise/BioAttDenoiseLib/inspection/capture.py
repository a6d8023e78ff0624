"""A figure of the comparison for a slide: views, captions, scale bar and settings, as PNG or PDF."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import qt
import slicer
import vtk
from slicer.i18n import tr as _
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from ..scene import colour, slice_views
from ..scene.layouts import ATTENTION, DIFFERENCE, INPUT, OUTPUT

PANEL_PX = 720
"""Minimum width of a panel; smaller views are enlarged by an integer factor."""
GAP, LINE = 10, 34
SCALES_MM = (5, 10, 20, 50, 100)


@dataclass(frozen=True)
class Panel:
    """One slice view: its picture (rows, columns, RGB), the pixel size in mm, and the caption above it.

    range: HU at the ends of the difference's color bar; 0: no bar. edges: see `slice_views.edges`.
    """

    name: str
    image: np.ndarray
    mm_per_px: float
    caption: str
    range: float = 0.0
    edges: str = ""


def panels(comparison: Any, attention: str = "") -> list[list[Panel]]:
    """The comparison's views as panels, row by row as on screen. `attention` describes the displayed map. Raises
    ValueError if a view shows a different volume than its caption would state.
    """
    if comparison.flickered:
        comparison.flicker()
    for name in comparison.layouts.views():
        _check_volume(comparison, name)
    found = {name: _panel(name, view, comparison, attention) for name, view in comparison.layouts.views().items()}
    rows = [[found[name] for name in row if name in found] for row in ((INPUT, OUTPUT), (DIFFERENCE, ATTENTION))]
    return [row for row in rows if row]


def settings_line(output: Any) -> str:
    """Model, prior with its provenance, and strength, as recorded in the output volume."""
    if output is None or output.GetAttribute("BioAttDenoise.Model") is None:
        return ""
    names = ("Model", "ModelSHA256", "Prior", "Strength")
    model, digest, prior, strength = (output.GetAttribute(f"BioAttDenoise.{name}") or "?" for name in names)
    files = output.GetAttribute("BioAttDenoise.PriorFilesSHA256")
    if files:
        prior += f" ({', '.join(file[:8] for file in files.split())})"
    words = output.GetAttribute("BioAttDenoise.DescriptorSet")
    if words:
        made_of = output.GetAttribute("BioAttDenoise.DescriptorSetSHA256") or "?"
        prior = _("{prior} over {words} ({digest})").format(prior=prior, words=words, digest=made_of[:8])
    return _("BioAttDenoise, model {model} ({digest}), prior {prior}, strength {strength}").format(
        model=model, digest=digest[:8], prior=prior, strength=strength
    )


def figure(rows: list[list[Panel]], footer: str) -> np.ndarray:
    """The panels with their captions and a footer on black, (rows, columns, 3) uint8."""
    height, width = (max(panel.image.shape[axis] for row in rows for panel in row) for axis in (0, 1))
    across = max(len(row) for row in rows)
    whole = np.zeros((len(rows) * (height + LINE + GAP) + 2 * LINE, across * (width + GAP) + GAP, 3), np.uint8)
    for y, row in enumerate(rows):
        for x, panel in enumerate(row):
            top, left = y * (height + LINE + GAP), GAP + x * (width + GAP)
            _write(whole, panel.caption, left, top + 4, width)
            picture = _with_letters(_with_bars(panel), panel.edges)
            whole[top + LINE : top + LINE + picture.shape[0], left : left + picture.shape[1]] = picture
    bottom = whole.shape[0] - 2 * LINE
    _write(whole, footer, GAP, bottom + 2, whole.shape[1] - 2 * GAP)
    _write(whole, _("Research use only, not for diagnosis."), GAP, bottom + LINE - 4, whole.shape[1] - 2 * GAP)
    return whole


def write_figure(path: str | Path, image: np.ndarray) -> None:
    """Write atomically as .png or .pdf. Raises ValueError for another extension, OSError if it cannot be written."""
    target = Path(path)
    kind = target.suffix.lower()
    if kind not in (".png", ".pdf"):
        raise ValueError(
            _('Figures are saved as .png or .pdf, not "{ending}": choose one of these.').format(ending=target.suffix)
        )
    partial = target.with_name(f".{target.name}.partial")
    try:
        partial.write_bytes(_png(image))
        if kind == ".pdf":
            _make_pdf(partial)
        os.replace(partial, target)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def view_image(view: Any) -> np.ndarray:
    """The slice pipeline's rendering of a view's volumes on black: (rows, columns, 3) uint8, top row first."""
    logic = slicer.app.applicationLogic().GetSliceLogic(view)
    port = logic.GetImageDataConnection()
    if port is None:
        columns, rows, _depth = view.GetDimensions()
        return np.zeros((rows, columns, 3), np.uint8)
    port.GetProducer().Update()
    image = port.GetProducer().GetOutputDataObject(port.GetIndex())
    columns, rows, _depth = image.GetDimensions()
    rgba = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(rows, columns, -1)[::-1]
    return (rgba[..., :3] * (rgba[..., 3:] / 255.0)).astype(np.uint8)


def _check_volume(comparison: Any, name: str) -> None:
    expected, identity = comparison.volume(name), comparison.composite(name).GetBackgroundVolumeID()
    if identity == expected.GetID():
        return
    shown = slicer.mrmlScene.GetNodeByID(identity) if identity else None
    found = f'"{shown.GetName()}"' if shown is not None else _("no volume")
    text = _('The view for "{expected}" shows {found}. Leave and re-enter the comparison, then save the figure.')
    raise ValueError(text.format(expected=expected.GetName(), found=found))


def _panel(name: str, view: Any, comparison: Any, attention: str) -> Panel:
    image = view_image(view)
    factor = -(-PANEL_PX // image.shape[1])
    image = image.repeat(factor, axis=0).repeat(factor, axis=1)
    scale = view.GetFieldOfView()[0] / view.GetDimensions()[0] / factor
    display = comparison.before.GetDisplayNode()
    window = _("W {window:g} L {level:g} HU").format(window=display.GetWindow(), level=display.GetLevel())
    index = slice_views.slice_index(view, comparison.before) + 1
    caption = {
        INPUT: _("Input, slice {index}, {window}").format(index=index, window=window),
        OUTPUT: _("Denoised, {window}").format(window=window),
        DIFFERENCE: _("Denoised - input, {low:g} (blue) to {high:+g} HU (red)").format(
            low=-comparison.range, high=comparison.range
        ),
        ATTENTION: _("Attention: {map}").format(map=attention)
        if attention
        else _("Input, {window}").format(window=window),
    }[name]
    edges = slice_views.edges(view)
    if name != DIFFERENCE:
        return Panel(name, image, scale, caption, edges=edges)
    return Panel(name, image, scale, caption + _marks(view), comparison.range, edges)


def _marks(view: Any) -> str:
    """Caption suffix with the structure check's finding in a view; empty without a check."""
    identity = slice_views.composite_of(view).GetLabelVolumeID()
    marks = slicer.mrmlScene.GetNodeByID(identity) if identity else None
    if marks is None:
        return ""
    if not slicer.util.arrayFromVolume(marks).any():
        return _("; structure check: nothing found")
    resliced = slicer.app.applicationLogic().GetSliceLogic(view).GetLabelLayer().GetReslice()
    resliced.Update()
    if not vtk_to_numpy(resliced.GetOutput().GetPointData().GetScalars()).any():
        return _("; structure check: nothing in this view")
    return _("; green outline: structure removed")


def _with_bars(panel: Panel) -> np.ndarray:
    """The picture with its scale bar, and a color bar for the difference."""
    image = panel.image.copy()
    if panel.range:
        _draw_color_bar(image, panel.range)
    length = max((mm for mm in SCALES_MM if mm / panel.mm_per_px < 0.35 * image.shape[1]), default=SCALES_MM[0])
    pixels = round(length / panel.mm_per_px)
    bottom, left = image.shape[0] - 18, 18
    image[bottom - 7 : bottom + 1, left - 2 : left + pixels + 2] = 0
    image[bottom - 5 : bottom - 1, left : left + pixels] = 255
    _write(image, _("{length} mm").format(length=length), left, bottom - 40, 200)
    return image


def _with_letters(image: np.ndarray, edges: str) -> np.ndarray:
    """Draw the patient directions at the middle of the left, right, upper and lower edge, in place."""
    rows, columns = image.shape[:2]
    places = ((8, rows // 2), (columns - 24, rows // 2), (columns // 2 - 8, 6), (columns // 2 - 8, rows - 34))
    for letter, (left, top) in zip(edges, places, strict=False):
        _write(image, letter, left, top, 24)
    return image


def _draw_color_bar(image: np.ndarray, hu: float) -> None:
    """Draw the difference's color bar from +hu down to -hu at the right edge."""
    height, left = image.shape[0] // 2, image.shape[1] - 100
    top = image.shape[0] // 4
    colors = (255 * colour.ramp(colour.DIFFERENCE, height)[::-1]).astype(np.uint8)
    image[top - 2 : top + height + 2, left - 2 : left + 20] = 255
    image[top : top + height, left : left + 18] = colors[:, None]
    for place, value in ((0.0, hu), (0.5, 0.0), (1.0, -hu)):
        text = _("{value:+g} HU").format(value=value) if value else "0"
        _write(image, text, left + 26, round(top + place * height) - 12, 72)


def _write(image: np.ndarray, text: str, left: int, top: int, room: int) -> None:
    """White text on a darkened background, shrunk to fit `room` pixels."""
    if not text:
        return
    style = vtk.vtkTextProperty()
    style.SetColor(1, 1, 1)
    style.SetFontFamilyToArial()
    for size in range(20, 7, -1):
        style.SetFontSize(size)
        drawn, dimensions = vtk.vtkImageData(), [0, 0]
        vtk.vtkTextRenderer.GetInstance().RenderString(style, text, drawn, dimensions, 72)
        if dimensions[0] <= room:
            break
    columns, rows, _depth = drawn.GetDimensions()
    pixels = vtk_to_numpy(drawn.GetPointData().GetScalars()).reshape(rows, columns, -1)
    pixels = pixels[: dimensions[1] + 1, : dimensions[0] + 1][
        ::-1
    ]  # VTK's rows go up; beyond the text the image is empty
    part = image[top : top + pixels.shape[0], left : left + pixels.shape[1]]
    alpha = pixels[: part.shape[0], : part.shape[1], 3:] / 255.0
    part[...] = 0.3 * part * (1 - alpha) + 255 * alpha


def _png(image: np.ndarray) -> bytes:
    data = vtk.vtkImageData()
    data.SetDimensions(image.shape[1], image.shape[0], 1)
    scalars = numpy_to_vtk(np.ascontiguousarray(image[::-1]).reshape(-1, 3), deep=True)
    data.GetPointData().SetScalars(scalars)
    writer = vtk.vtkPNGWriter()
    writer.SetWriteToMemory(True)
    writer.SetInputData(data)
    writer.Write()
    return vtk_to_numpy(writer.GetResult()).tobytes()


def _make_pdf(path: Path) -> None:
    """Replace a PNG by a one-page PDF with the picture, as wide as a slide."""
    picture = qt.QImage(str(path))
    width = 13.33 * 25.4
    size = qt.QPageSize(qt.QSizeF(width, width * picture.height() / picture.width()), qt.QPageSize.Millimeter)
    writer = qt.QPdfWriter(str(path))
    writer.setPageLayout(qt.QPageLayout(size, qt.QPageLayout.Portrait, qt.QMarginsF(0, 0, 0, 0)))
    painter = qt.QPainter()
    if not painter.begin(writer):
        raise OSError(_("cannot write a PDF there"))
    painter.setRenderHint(qt.QPainter.LosslessImageRendering)
    painter.drawImage(painter.viewport(), picture)
    painter.end()
