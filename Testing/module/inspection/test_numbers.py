"""Region statistics, contrast-to-noise ratio, reference metrics and CSV, checked against direct computations."""

from __future__ import annotations

import numpy as np
import pytest
from places import MODULE


@pytest.fixture
def numbers(slicer):
    from BioAttDenoiseLib.inspection import numbers

    return numbers


def roi(slicer, node, low, high, name):
    """A ROI that covers the voxel centres from low to high (i, j, k)."""
    from BioAttDenoiseLib.scene import volumes

    matrix = volumes.ijk_to_ras(node)
    low, high = np.array(low), np.array(high)
    made = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", name)
    made.SetCenter(*(matrix @ [*((low + high) / 2), 1])[:3])
    made.SetSize(*(np.abs(np.diag(matrix)[:3]) * (high - low + 0.5)))
    return made


def test_mean_sd_and_cnr(slicer, pair, numbers):
    first = roi(slicer, pair[0], (25, 11, 2), (32, 18, 6), "lesion")
    second = roi(slicer, pair[0], (10, 22, 2), (18, 30, 6), "background")
    a, b = (
        slicer.util.arrayFromVolume(pair[0])[2:7, j, i]
        for j, i in ((slice(11, 19), slice(25, 33)), (slice(22, 31), slice(10, 19)))
    )
    found = {(line.volume, line.quantity): line.value for line in numbers.roi_numbers(list(pair), first, second)}
    assert found["CT", "mean in lesion"] == pytest.approx(a.mean())
    assert found["CT", "SD in background"] == pytest.approx(b.std(ddof=1))
    assert found["CT", "CNR"] == pytest.approx(abs(a.mean() - b.mean()) / b.std(ddof=1))
    assert found["CT denoised", "CNR"] > 1.5 * found["CT", "CNR"]
    one = roi(slicer, pair[0], (12, 12, 2), (12, 12, 2), "voxel")
    assert [line.quantity for line in numbers.roi_numbers([pair[0]], one)] == ["mean in voxel"], "one has no spread"


def test_a_turned_region_holds_fewer_voxels_than_its_bounding_box(slicer, pair, numbers):
    import vtk

    box = roi(slicer, pair[0], (10, 10, 2), (30, 30, 6), "turned")
    straight = numbers.roi_voxels(box, pair[0]).size
    turn = vtk.vtkTransform()
    centre = box.GetCenter()
    turn.Translate(*centre)
    turn.RotateZ(45)
    turn.Translate(*(-c for c in centre))
    parent = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode")
    parent.SetMatrixTransformToParent(turn.GetMatrix())
    box.SetAndObserveTransformNodeID(parent.GetID())
    assert numbers.roi_voxels(box, pair[0]).size == pytest.approx(straight, rel=0.1)


def test_an_empty_region_is_told(slicer, pair, numbers):
    small = roi(slicer, pair[0], (10, 10, 2), (12, 12, 3), "small")
    small.SetSize(0.01, 0.01, 0.01)
    small.SetCenter(*(np.array(small.GetCenter()) + 0.3))
    with pytest.raises(ValueError, match=r"no voxel|outside"):
        numbers.roi_voxels(small, pair[0])


def test_reference(slicer, pair, numbers):
    from bioatt.core import metrics

    lines = numbers.reference_numbers([pair[1]], pair[0])
    arrays = [slicer.util.arrayFromVolume(node) for node in pair]
    assert [line.value for line in lines] == pytest.approx([f(*arrays) for f in (
        lambda a, b: metrics.rmse(a, b, metrics.WINDOWS["soft tissue"]), metrics.psnr, metrics.ssim)])  # fmt: skip
    assert [line.unit for line in lines] == ["HU", "dB", ""]


def test_a_reference_with_other_voxels_is_refused(pair, make_ct, numbers):
    with pytest.raises(ValueError, match="different geometry"):
        numbers.reference_numbers([pair[1]], make_ct(slices=3))


def test_noise_falls(pair, numbers):
    before, after = numbers.noise_numbers(list(pair))
    assert before.value > 2 * after.value > 0


def test_csv_reads_back(pair, numbers):
    import csv
    import io

    lines = [numbers.Number('a, "b"', "mean", -1.25, "HU")]
    rows = list(csv.reader(io.StringIO(numbers.as_csv(lines))))
    assert rows == [list(numbers.HEADER), ['a, "b"', "mean", "-1.25", "HU"]]
    assert lines[0].text == "−1.2"
    assert "\t" in numbers.as_csv(lines, "\t")


def test_nothing_here_imports_torch():
    import subprocess
    import sys

    code = "import sys, bioatt.core.metrics, bioatt.core.structure, bioatt.core.noise as n, numpy as np;"
    code += "import bioatt.core.attention_views;"
    code += (
        "bioatt.core.metrics.ssim(np.zeros((9,9)), np.ones((9,9))); assert not {'torch', 'skimage'} & set(sys.modules)"
    )
    root = MODULE
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True, env={"PYTHONPATH": str(root)})
