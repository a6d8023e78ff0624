"""Slicer's own reader finds names, colours and terminology in the engine's segmentation files."""

from __future__ import annotations

import numpy as np
import pytest

from bioatt.anatomy.terminology import segments_of
from bioatt.core.volume import Volume
from bioatt.io.seg_nrrd import write_segmentation


def test_slicer_reads_segments_with_their_names_colours_and_terms(scene, slicer, tmp_path):
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    labels = np.zeros((4, 30, 40), np.uint8)
    labels[1:3, 5:15, 5:15], labels[2:, 18:28, 20:36] = 9, 13
    scan = Volume(np.zeros(labels.shape, np.int16), spacing=(0.8, 0.7, 2.5), origin=(10.0, 20.0, -30.0))
    path = tmp_path / "organs.seg.nrrd"
    write_segmentation(labels, segments_of([9, 13]), scan, path, note="")

    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    node.CreateDefaultDisplayNodes()
    storage = scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(path))
    assert storage.ReadData(node)

    segmentation = node.GetSegmentation()
    assert segmentation.GetSegmentIDs() == ("Segment_9", "Segment_13")
    assert segmentation.GetNumberOfLayers() == 1
    for segment in segments_of([9, 13]):
        read = segmentation.GetSegment(f"Segment_{segment.value}")
        assert read.GetName() == segment.name
        assert read.GetLabelValue() == segment.value
        assert read.GetColor() == pytest.approx([part / 255 for part in segment.color], abs=1e-5)
        tag = vtk.reference("")
        assert read.GetTag("TerminologyEntry", tag)
        assert tag.get() == segment.terminology
        image = read.GetRepresentation("Binary labelmap")
        voxels = vtk_to_numpy(image.GetPointData().GetScalars())
        assert (voxels == segment.value).sum() == (labels == segment.value).sum()
        assert image.GetSpacing() == pytest.approx(scan.spacing)
