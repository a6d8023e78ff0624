"""The prior's tables and charts: values, order, scrolling, and restoring from a saved scene."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def chart(slicer, pair, maps):
    from BioAttDenoiseLib.inspection.chart import PriorChart

    made = PriorChart()
    made.setPrior(*pair, maps.prior)
    yield made
    made.clear()


def test_bars_of_the_slice_the_most_probable_first(chart):
    assert [name for name, _p in chart.prior.rows(0)] == ["liver", "lungs"]
    assert [name for name, _p in chart.prior.rows(8)] == ["lungs", "liver"]
    assert chart.prior.rows(0)[0][1] == pytest.approx(0.8)
    assert chart.prior.rows(99) == []


def test_the_table_along_z_has_the_slices_places(slicer, chart):
    table = chart.along_z
    z = [table.GetTable().GetColumn(0).GetValue(row) for row in range(9)]
    np.testing.assert_allclose(z, -300 + 2.5 * np.arange(9))
    assert table.GetTable().GetColumnName(1) == "lungs"
    np.testing.assert_allclose(slicer.util.arrayFromTableColumn(table, "lungs"), np.linspace(0.2, 0.8, 9), atol=1e-6)


def test_the_charts_are_in_the_plot_views_and_follow(slicer, pair, chart):
    from BioAttDenoiseLib.inspection.comparison import Comparison

    comparison = Comparison()
    comparison.start(*pair, "side by side", charts=True)
    chart.show()
    view = slicer.mrmlScene.GetSingletonNode("BioAttProbabilities", "vtkMRMLPlotViewNode")
    bars = view.GetPlotChartNode()
    table = bars.GetNthPlotSeriesNode(0).GetTableNode().GetTable()
    chart.update(8)
    assert bars.GetTitle() == "Slice 9"
    assert table.GetValue(0, 0).ToString() == "lungs"
    assert table.GetValue(0, 1).ToDouble() == pytest.approx(0.8)
    chart.update(0)
    assert table.GetValue(0, 0).ToString() == "liver"
    curves = slicer.mrmlScene.GetSingletonNode("BioAttProbabilitiesAlongZ", "vtkMRMLPlotViewNode").GetPlotChartNode()
    assert curves.GetNumberOfPlotSeriesNodes() == 2
    comparison.leave()


def test_the_prior_comes_back_with_a_saved_scene(slicer, pair, maps, chart, tmp_path):
    from BioAttDenoiseLib.inspection.chart import PriorChart

    path = str(tmp_path / "scene.mrb")
    slicer.util.saveScene(path)
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(path)
    other = PriorChart()
    output = slicer.util.getNode("CT denoised")
    assert other.restore(output)
    np.testing.assert_allclose(other.prior.p, maps.prior.p, atol=1e-6)
    assert other.prior.descriptors == ("lungs", "liver")
    assert other.prior.source == "maps"
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLPlotChartNode") == 0


def test_denoising_again_replaces_the_table(slicer, pair, maps, chart):
    chart.setPrior(*pair, maps.prior)
    assert len(slicer.util.getNodesByClass("vtkMRMLTableNode")) == 1


def test_a_table_without_an_output_goes_with_its_chart(slicer, pair, maps):
    from BioAttDenoiseLib.inspection.chart import PriorChart

    made = PriorChart()
    made.setPrior(pair[0], None, maps.prior)
    made.setPrior(pair[0], None, maps.prior)
    assert len(slicer.util.getNodesByClass("vtkMRMLTableNode")) == 1
    made.clear()
    assert slicer.util.getNodesByClass("vtkMRMLTableNode") == []
