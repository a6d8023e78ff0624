"""Export to DICOM: a volume loaded from a series becomes a derived series, through the real writer."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from places import DICOM_FIXTURES


@pytest.fixture
def series(tmp_path):
    """A folder with a DICOM series of 3 slices, and its HU (z, y, x)."""
    specification = importlib.util.spec_from_file_location("series_writer", DICOM_FIXTURES)
    writer = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(writer)
    writer.write_series(tmp_path / "scan")
    return tmp_path / "scan"


@pytest.fixture
def loaded(slicer, make_driver, scene, series, monkeypatch):
    """A driver whose input came from the series, as Slicer's DICOM module loads it, denoised by the stand-in."""
    import pydicom

    from bioatt.io.dicom.read import read_series

    volume = read_series(series)
    node = slicer.util.addVolumeFromArray(volume.hu.copy(), ijkToRAS=volume.ijk_to_ras, name="3: Abdomen <25 %>")
    headers = {str(path): pydicom.dcmread(path) for path in volume.sources}
    files = {header.SOPInstanceUID: path for path, header in headers.items()}
    node.SetAttribute("DICOM.instanceUIDs", " ".join(files))
    monkeypatch.setattr(
        slicer,
        "dicomDatabase",
        SimpleNamespace(
            isOpen=True,
            fileForInstance=lambda uid: files.get(uid, ""),
            seriesForFile=lambda path: headers[path].SeriesInstanceUID,
            instanceValue=lambda uid, tag: "",
        ),
        raising=False,
    )
    driver = make_driver()
    assert not driver.ui.exportButton.visible
    driver.behave("steady")
    driver.denoise()
    driver.headers = list(headers.values())
    return driver


@pytest.fixture
def folders(slicer, monkeypatch):
    """What folder dialogs answer, in turn; folders.asked has their titles."""
    import qt

    answers = SimpleNamespace(given=[], asked=[], confirmed=[])
    monkeypatch.setattr(
        qt.QFileDialog,
        "getExistingDirectory",
        lambda parent, title: (answers.asked.append(title), answers.given.pop(0))[1],
    )
    monkeypatch.setattr(
        slicer.util, "confirmYesNoDisplay", lambda text, title=None: (answers.confirmed.append(text), False)[1]
    )
    return answers


def test_an_output_becomes_a_derived_series(loaded, folders, tmp_path, slicer):
    from bioatt.io.dicom.read import read_series

    loaded.parameters.outputVolume.SetAttribute("BioAttDenoise.OrganStrength", '{"lungs": 0.5}')
    (tmp_path / "exports").mkdir()
    folders.given = [str(tmp_path / "exports")]
    loaded.click(loaded.ui.exportButton)
    loaded.wait_idle()
    assert "Written: 5 DICOM images" in loaded.status
    (folder,) = (tmp_path / "exports").iterdir()
    assert "<" not in folder.name
    written = read_series(folder)
    np.testing.assert_array_equal(written.hu, slicer.util.arrayFromVolume(loaded.parameters.outputVolume))
    import pydicom

    header = pydicom.dcmread(written.sources[0])
    assert header.ImageType[0] == "DERIVED"
    assert header.PatientID == loaded.headers[0].PatientID
    assert header.SeriesInstanceUID != loaded.headers[0].SeriesInstanceUID
    assert "steady" in header.DerivationDescription
    assert "lungs 0.50" in header.DerivationDescription
    assert "Research use only" in header.DerivationDescription
    assert folders.confirmed == ["Add the derived series to Slicer's DICOM database?"]


def test_of_a_volume_of_no_database_the_folder_is_asked_for(loaded, folders, tmp_path, series):
    loaded.parameters.inputVolume.SetAttribute("DICOM.instanceUIDs", None)
    folders.given = [str(series), str(tmp_path)]
    loaded.click(loaded.ui.exportButton)
    loaded.wait_idle()
    assert "was loaded from" in folders.asked[0]
    assert "Written: 5 DICOM images" in loaded.status


def test_a_folder_with_another_scan_is_refused(loaded, folders, tmp_path, slicer):
    specification = importlib.util.spec_from_file_location("series_writer", DICOM_FIXTURES)
    writer = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(writer)
    writer.write_series(tmp_path / "other", writer.ct_like(slices=4))
    loaded.parameters.inputVolume.SetAttribute("DICOM.instanceUIDs", None)
    (tmp_path / "exports").mkdir()
    folders.given = [str(tmp_path / "other"), str(tmp_path / "exports")]
    loaded.click(loaded.ui.exportButton)
    loaded.wait_idle()
    assert "other slices than the volume" in loaded.status
    assert list((tmp_path / "exports").iterdir()) == []


def test_a_part_is_not_exported(loaded, folders):
    loaded.parameters.outputVolume.SetAttribute("BioAttDenoise.Region", "axial slices 1-2 of 5")
    loaded.click(loaded.ui.exportButton)
    assert "Only a part" in loaded.status
    assert folders.asked == []


def test_a_cancelled_dialog_writes_nothing(loaded, folders):
    folders.given = [""]
    loaded.click(loaded.ui.exportButton)
    assert len(folders.asked) == 1
    assert loaded.panel.idle


@pytest.mark.parametrize(("name", "file"), [("a/b: c?", "a_b_ c_"), ("...", "volume"), ("ÄÖ 1", "ÄÖ 1")])
def test_names_of_folders(slicer, name, file):
    from BioAttDenoiseLib.scene import volumes

    node = slicer.vtkMRMLScalarVolumeNode()
    node.SetName(name)
    assert volumes.file_name(node) == file


def test_a_series_stored_head_first_gets_its_slices_in_their_places(tmp_path):
    """Slicer and the series may store a scan in other orders."""
    from dataclasses import replace

    from bioatt.core.volume import Volume
    from bioatt.worker.export import on_grid_of

    hu = np.random.default_rng(0).integers(-900, 900, (4, 6, 5)).astype(np.int16)
    source = Volume(hu, origin=(1.0, 2.0, 3.0))
    turned = Volume(
        hu[::-1, :, ::-1] + np.int16(7), origin=(1.0 + 4, 2.0, 3.0 + 3), direction=np.diag([-1.0, 1.0, -1.0])
    )
    np.testing.assert_array_equal(on_grid_of(source, turned).hu, hu + 7)
    with pytest.raises(Exception, match="other slices"):
        on_grid_of(source, replace(turned, origin=(0.0, 0.0, 0.0)))


def test_files_that_are_gone_are_no_source(loaded, slicer, series):
    from BioAttDenoiseLib.scene import dicom

    node = loaded.parameters.inputVolume
    assert dicom.source_series(node)[0] == series
    next(iter(Path(series).iterdir())).unlink()
    assert dicom.source_series(node) is None
