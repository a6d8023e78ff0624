"""Makes the pictures of Docs/compare.md from a phantom: `python Docs/make_images.py [OUT]` (a minute, without Slicer).

The panel, the views and the network are the real ones; only the window around them is missing.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
IMAGES = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "Docs" / "images"
sys.path[:0] = [str(ROOT / "Testing" / "screenshots"), str(ROOT / "Testing"), str(ROOT / "BioAttDenoise")]

import slicer_runtime  # noqa: E402
import vtk  # noqa: E402
from window import BAR, fit, slicer, view_picture  # noqa: E402

from bioatt.simulation.phantom import torso  # noqa: E402
from bioatt.simulation.tomography.kernels import FAMILY  # noqa: E402

SLICES, SIZE, NOISE_HU = 8, 256, 28.0
VIEW = 340
TITLES = {
    "BioAttInput": "Input",
    "BioAttOutput": "Denoised",
    "BioAttDifference": "Denoised \N{MINUS SIGN} input",
    "BioAttAttention": "Attention A'",
}
"""What is written below a view."""


def phantom_case() -> tuple[np.ndarray, np.ndarray]:
    """HU with noise of kernel B30's correlation, and the IJK-to-RAS matrix."""
    volume, _labels = torso(3, SLICES, SIZE, z_range=(-60.0, 10.0))
    pixel = volume.spacing[0]
    frequency = np.hypot(np.fft.fftfreq(SIZE, pixel)[:, None], np.fft.rfftfreq(SIZE, pixel)[None])
    amplitude = np.sqrt(frequency) * FAMILY["B30"].response(frequency)
    white = np.fft.rfft2(np.random.default_rng(5).normal(size=volume.shape))
    noise = np.fft.irfft2(white * amplitude, (SIZE, SIZE))
    noise *= NOISE_HU / noise.std()
    matrix = np.diag([-volume.spacing[0], -volume.spacing[1], volume.spacing[2], 1.0])
    matrix[:3, 3] = (-volume.origin[0], -volume.origin[1], volume.origin[2])
    return np.rint(volume.hu + noise).astype(np.int16), matrix


def save(name: str, image: np.ndarray) -> None:
    """Write RGB(A) rows as PNG of 256 colors."""
    Image.fromarray(np.ascontiguousarray(image[..., :3])).quantize(256, kmeans=3).save(IMAGES / name, optimize=True)
    print(name, image.shape, (IMAGES / name).stat().st_size // 1024, "KB")


def views(*rows: tuple[str, ...], title: str = "") -> np.ndarray:
    """The slice views with their bars and titles as they stand in the layout, with a thin gap. title: another one."""
    manager = slicer.app.layoutManager()
    lines = []
    for row in rows:
        drawn = [view_picture(manager.sliceWidget(name), VIEW, VIEW + BAR, title or TITLES[name]) for name in row]
        pictures = [np.pad(pixels(picture), ((2, 2), (2, 2), (0, 0)), constant_values=90) for picture in drawn]
        lines.append(np.concatenate(pictures, axis=1))
    return np.concatenate(lines, axis=0)


def pixels(picture: object) -> np.ndarray:
    """A QImage or QPixmap as (rows, columns, RGB)."""
    path = IMAGES / "part.png"
    picture.save(str(path))
    part = np.asarray(Image.open(path).convert("RGB"))
    path.unlink()
    return part


def chart(name: str) -> np.ndarray:
    """The chart node of a plot view, drawn as Slicer draws it (its own view is Qt)."""
    node = slicer.mrmlScene.GetSingletonNode(name, "vtkMRMLPlotViewNode").GetPlotChartNode()
    drawn, view = vtk.vtkChartXY(), vtk.vtkContextView()
    drawn.SetTitle(node.GetTitle())
    drawn.SetShowLegend(node.GetLegendVisibility())
    for index in range(node.GetNumberOfPlotSeriesNodes()):
        series = node.GetNthPlotSeriesNode(index)
        table = series.GetTableNode().GetTable()
        bars = series.GetPlotType() == slicer.vtkMRMLPlotSeriesNode.PlotTypeBar
        plot = drawn.AddPlot(vtk.vtkChart.BAR if bars else vtk.vtkChart.LINE)
        if bars:
            shown = vtk.vtkTable()
            place, values = vtk.vtkIntArray(), vtk.vtkDoubleArray()
            place.SetName("place")
            values.SetName("p")
            labels = vtk.vtkStringArray()
            positions = vtk.vtkDoubleArray()
            for row in range(min(table.GetNumberOfRows(), 6)):
                place.InsertNextValue(row)
                values.InsertNextValue(table.GetValue(row, 1).ToDouble())
                labels.InsertNextValue(table.GetValue(row, 0).ToString())
                positions.InsertNextValue(row)
            shown.AddColumn(place)
            shown.AddColumn(values)
            plot.SetInputData(shown, 0, 1)
            axis = drawn.GetAxis(vtk.vtkAxis.BOTTOM)
            axis.SetCustomTickPositions(positions, labels)
            axis.GetLabelProperties().SetOrientation(30)
            axis.GetLabelProperties().SetJustificationToRight()
        else:
            columns = [table.GetColumnName(column) for column in range(table.GetNumberOfColumns())]
            plot.SetInputData(table, columns.index(series.GetXColumnName()), columns.index(series.GetYColumnName()))
            plot.SetLabel(series.GetName())
            plot.SetWidth(2)
        plot.SetColorF(*series.GetColor())
    drawn.GetAxis(vtk.vtkAxis.BOTTOM).SetTitle(node.GetXAxisTitle())
    left = drawn.GetAxis(vtk.vtkAxis.LEFT)
    left.SetTitle("p")
    left.SetBehavior(vtk.vtkAxis.FIXED)
    left.SetRange(0, 1)
    view.GetScene().AddItem(drawn)
    window = view.GetRenderWindow()
    window.SetOffScreenRendering(1)
    window.SetMultiSamples(4)
    window.SetSize(VIEW + 100, VIEW)
    view.GetRenderer().SetBackground(1, 1, 1)
    window.Render()
    pixels = vtk.vtkUnsignedCharArray()
    window.GetRGBACharPixelData(0, 0, VIEW + 99, VIEW - 1, 1, pixels)
    from vtk.util.numpy_support import vtk_to_numpy

    return vtk_to_numpy(pixels).reshape(VIEW, VIEW + 100, 4)[::-1, :, :3]


def enlarge() -> None:
    """Views of a good size, fitted."""
    manager = slicer.app.layoutManager()
    for name in manager.sliceViewNames():
        fit(manager.sliceWidget(name), VIEW, VIEW + BAR)


def main() -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    noisy, matrix = phantom_case()
    node = slicer.util.addVolumeFromArray(noisy, ijkToRAS=matrix, name="CT")
    node.GetDisplayNode().SetAutoWindowLevel(False)
    node.GetDisplayNode().SetWindowLevel(400, 40)
    slicer.app.layoutManager()
    slicer.util.setSliceViewerLayers(background=node, fit=True)
    module = slicer_runtime.load_module(ROOT / "BioAttDenoise" / "BioAttDenoise.py")
    type(slicer.app).testing = True
    widget = module.widgetRepresentation()
    widget.resize(380, 2600)
    widget.show()
    widget.enter()
    panel = widget.self().panel
    panel.parameters.inputVolume = node
    sections = {type(section).__name__: section for section in panel.sections}
    attention, compare, numbers = (sections[f"{name}Section"] for name in ("Attention", "Compare", "Numbers"))
    attention.ui.withDenoisingCheckBox.checked = True
    attention.ui.organsComboBox.currentIndex = 1
    outcome: list[object] = []
    panel.logic.denoiseAsync(node, **attention.denoiseOptions(), onDone=outcome.append, onError=outcome.append)
    while not outcome:
        slicer.app.processEvents()
        time.sleep(0.02)
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    panel._done(outcome[0], lambda: None)
    print(outcome[0].summary)

    compare.onMode("side by side")
    enlarge()
    save("compare_side_by_side.png", views(("BioAttInput", "BioAttOutput")))
    compare.onMode("swipe")
    enlarge()
    save("compare_swipe.png", views(("BioAttInput",), title="Input | denoised"))
    compare.onMode("grid")
    views(("BioAttDifference", "BioAttAttention"))  # a view draws the legends that come after it
    compare.onMode(None)
    compare.onMode("grid")
    enlarge()
    attention.ui.showOverlayCheckBox.checked = True
    attention.onShow()
    save("compare_grid.png", views(("BioAttInput", "BioAttOutput"), ("BioAttDifference", "BioAttAttention")))
    compare.writeFigure(str(IMAGES / "whole.png"))
    figure = Image.open(IMAGES / "whole.png")
    save(
        "compare_figure.png",
        np.asarray(figure.resize((figure.width // 2, figure.height // 2), Image.Resampling.LANCZOS)),
    )
    (IMAGES / "whole.png").unlink()
    pictures = []
    for stage, title in enumerate(("middle", "last")):
        attention.ui.stageComboBox.currentIndex = stage
        pictures.append(views(("BioAttAttention",), title=f"A', stage {title}"))
    save("attention_stages.png", np.concatenate(pictures, axis=1))
    compare.onMode(None)
    attention.ui.showOverlayCheckBox.checked = False
    attention.ui.chartsCheckBox.checked = True
    charts = [chart("BioAttProbabilities"), chart("BioAttProbabilitiesAlongZ")]
    save("attention_charts.png", np.concatenate(charts, axis=1))
    attention.ui.chartsCheckBox.checked = False

    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Liver")
    roi.SetCenter(*(matrix @ [SIZE * 0.26, SIZE * 0.42, SLICES // 2, 1])[:3])  # beside the lesion
    roi.SetSize(25, 25, 15)
    numbers.ui.firstRoiSelector.setCurrentNode(roi)

    lesion = erase_a_lesion(node, panel.parameters.outputVolume, matrix)
    numbers.onMeasure()
    roi.SetDisplayVisibility(False)
    compare.onStructureCheck()
    while compare.inspection.structure_check.running:
        slicer.app.processEvents()
    print(compare.ui.structureCheckLabel.text)
    compare.onMode("grid")
    enlarge()
    for view in compare.comparison.layouts.views().values():
        view.SetFieldOfView(120, 120, 1)
        view.JumpSliceByCentering(*lesion)
    node.GetDisplayNode().SetWindowLevel(150, 90)
    save("compare_structure_check.png", views(("BioAttInput", "BioAttOutput", "BioAttDifference")))
    compare.onMode(None)

    ui = panel.ui
    for button in (ui.compareCollapsibleButton, ui.anatomyCollapsibleButton, ui.evaluationCollapsibleButton):
        button.collapsed = False
    ui.anatomyTabs.setCurrentWidget(ui.attentionPage)
    for _ in range(3):
        slicer.app.processEvents()
    pictures = []
    for section in (compare, attention, numbers):
        pictures.append(pixels(section.widget.grab()))
    height = max(part.shape[0] for part in pictures)
    padded = [np.pad(p, ((0, height - p.shape[0]), (0, 12), (0, 0)), constant_values=239) for p in pictures]
    save("compare_panel.png", np.concatenate(padded, axis=1))
    widget.self().cleanup()


def erase_a_lesion(node: object, output: object, matrix: np.ndarray) -> tuple[float, float, float]:
    """Plant a lesion of 9 mm and −35 HU in the input that the output does not show; returns its place."""
    centre = np.array([SLICES // 2, SIZE * 0.42, SIZE * 0.34])
    spacing = np.abs(np.diag(matrix)[:3])[::-1]
    offsets = (np.indices((SLICES, SIZE, SIZE)) - centre[:, None, None, None]) * spacing[:, None, None, None]
    blob = -35 / (1 + np.exp(np.clip((np.sqrt((offsets**2).sum(0)) - 4.5) / 0.5, -50, 50)))
    array = slicer.util.arrayFromVolume(node)
    array += np.rint(blob).astype(np.int16)
    slicer.util.arrayFromVolumeModified(node)
    return tuple((matrix @ [*centre[::-1], 1.0])[:3])


if __name__ == "__main__":
    main()
