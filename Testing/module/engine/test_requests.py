"""Besides a scan's voxels, a request names the DICOM files that it came from."""

from __future__ import annotations

from types import SimpleNamespace


def test_a_scan_from_dicom_names_its_files(make_ct, slicer, monkeypatch):
    """The worker checks their headers for two phases in one volume, an iodine map or a denoising reconstruction."""
    from BioAttDenoiseLib.engine import requests
    from BioAttDenoiseLib.engine.options import EngineOptions
    from BioAttDenoiseLib.scene.regions import whole_region
    from BioAttDenoiseLib.scene.volumes import ijk_to_ras

    node = make_ct()
    region = whole_region(slicer.util.arrayFromVolume(node).shape, ijk_to_ras(node))
    assert requests.denoise(node, region, EngineOptions()).fields["volume"]["files"] == []
    files = {"1.2.3": "/scans/1.dcm", "1.2.4": "/scans/2.dcm"}
    database = SimpleNamespace(fileForInstance=lambda uid: files.get(uid, ""), instanceValue=lambda uid, tag: "")
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    node.SetAttribute("DICOM.instanceUIDs", "1.2.3 1.2.4 1.2.5")
    request = requests.denoise(node, region, EngineOptions())
    assert request.fields["volume"]["files"] == ["/scans/1.dcm", "/scans/2.dcm"]
