"""Export to DICOM: the real writer stores the denoised volume of a loaded series as a derived series."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from places import DICOM_FIXTURES


@pytest.fixture
def writer():
    """The module that writes DICOM series for the engine's tests."""
    specification = importlib.util.spec_from_file_location("series_writer", DICOM_FIXTURES)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def series(tmp_path, writer):
    """A folder with two DICOM series: one of 5 slices and, in `longer`, one of 7."""
    writer.write_series(tmp_path / "scan")
    writer.write_series(tmp_path / "scan" / "longer", writer.ct_like(7), SeriesNumber=4)
    return tmp_path / "scan"


class Database:
    """Slicer's DICOM database, as far as the module uses it, with the files of a folder."""

    isOpen = True

    def __init__(self, folder):
        import pydicom

        self.headers = {str(path): pydicom.dcmread(path) for path in sorted(folder.rglob("*.dcm"))}

    def fileForInstance(self, uid):
        return next((path for path, header in self.headers.items() if header.SOPInstanceUID == uid), "")

    def seriesForFile(self, path):
        return self.headers[path].SeriesInstanceUID

    def filesForSeries(self, uid):
        return [path for path, header in self.headers.items() if header.SeriesInstanceUID == uid]

    def instanceValue(self, uid, tag):
        return ""


@pytest.fixture
def loaded(slicer, make_driver, scene, series, monkeypatch):
    """A driver with the shorter series, loaded as by Slicer's DICOM module and denoised by the stand-in. The subject
    hierarchy holds the UIDs; those of the instances are also in a node attribute.
    """
    from bioatt.io.dicom.read import read_series

    volume = read_series(series, 3)
    node = slicer.util.addVolumeFromArray(volume.hu.copy(), ijkToRAS=volume.ijk_to_ras, name="3: Abdomen <25 %>")
    database = Database(series)
    headers = [database.headers[str(path)] for path in volume.sources]
    instances = " ".join(header.SOPInstanceUID for header in headers)
    node.SetAttribute("DICOM.instanceUIDs", instances)
    names, tree = slicer.vtkMRMLSubjectHierarchyConstants, slicer.vtkMRMLSubjectHierarchyNode
    tree = tree.GetSubjectHierarchyNode(scene)
    tree.SetItemUID(tree.GetItemByDataNode(node), names.GetDICOMUIDName(), headers[0].SeriesInstanceUID)
    tree.SetItemUID(tree.GetItemByDataNode(node), names.GetDICOMInstanceUIDName(), instances)
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    driver = make_driver()
    assert not driver.ui.exportButton.visible
    driver.behave("steady")
    driver.denoise()
    driver.headers = headers
    return driver


@pytest.fixture
def folders(slicer, monkeypatch):
    """Folder dialogs return folders.given in turn; folders.asked has their titles, folders.yes answers questions."""
    import qt

    answers = SimpleNamespace(given=[], asked=[], confirmed=[], yes=False)
    monkeypatch.setattr(
        qt.QFileDialog,
        "getExistingDirectory",
        lambda parent, title: (answers.asked.append(title), answers.given.pop(0))[1],
    )
    monkeypatch.setattr(
        slicer.util, "confirmYesNoDisplay", lambda text, title=None: (answers.confirmed.append(text), answers.yes)[1]
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


@pytest.mark.parametrize("answer", ["added", "not added", "no DICOM module"])
def test_the_series_is_added_to_the_database(loaded, folders, tmp_path, monkeypatch, answer):
    taken = []
    utilities = SimpleNamespace(importDicom=lambda folder: (taken.append(folder), answer == "added")[1])
    known = SimpleNamespace(DICOMUtils=utilities) if answer != "no DICOM module" else None
    monkeypatch.setitem(sys.modules, "DICOMLib", known)
    (tmp_path / "exports").mkdir()
    folders.given, folders.yes = [str(tmp_path / "exports")], True
    loaded.click(loaded.ui.exportButton)
    loaded.wait_idle()
    (folder,) = (tmp_path / "exports").iterdir()
    assert taken == ([] if known is None else [str(folder)])
    said = "Added to the database." if answer == "added" else "It could not be added."
    assert loaded.status == f"Written: 5 DICOM images in {folder.name}. {said}"


@pytest.mark.parametrize("known", ["series", "instances"])
def test_the_source_is_found_by_the_subject_hierarchy_alone(loaded, series, slicer, known):
    """Some readers set no node attribute, or no series UID."""
    from BioAttDenoiseLib.scene import dicom, volumes

    node, names = loaded.parameters.inputVolume, slicer.vtkMRMLSubjectHierarchyConstants
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    other = names.GetDICOMInstanceUIDName() if known == "series" else names.GetDICOMUIDName()
    tree.SetItemUID(tree.GetItemByDataNode(node), other, "")
    node.SetAttribute("DICOM.instanceUIDs", None)
    assert dicom.source_series(node) == (series, loaded.headers[0].SeriesInstanceUID)
    assert len(volumes.dicom_files(node)) == (0 if known == "series" else 5)


def test_of_a_volume_of_no_database_the_folder_is_asked_for(loaded, folders, tmp_path, series, slicer):
    """The series is found by its UID, although the folder also contains a longer one."""
    slicer.dicomDatabase.isOpen = False
    folders.given = [str(series), str(tmp_path)]
    loaded.click(loaded.ui.exportButton)
    loaded.wait_idle()
    assert "was loaded from" in folders.asked[0]
    assert "Written: 5 DICOM images" in loaded.status


@pytest.mark.parametrize(("known", "said"), [(True, "No CT series"), (False, "does not match the volume's slices")])
def test_a_folder_with_another_scan_is_refused(loaded, folders, tmp_path, slicer, writer, known, said):
    writer.write_series(tmp_path / "other", writer.ct_like(slices=4))
    slicer.dicomDatabase.isOpen = False
    if not known:  # loaded from a file that is not DICOM
        tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
        name = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMUIDName()
        tree.SetItemUID(tree.GetItemByDataNode(loaded.parameters.inputVolume), name, "")
    (tmp_path / "exports").mkdir()
    folders.given = [str(tmp_path / "other"), str(tmp_path / "exports")]
    loaded.click(loaded.ui.exportButton)
    loaded.wait_idle()
    assert said in loaded.status
    assert list((tmp_path / "exports").iterdir()) == []


def test_a_part_is_not_exported(loaded, folders):
    loaded.parameters.outputVolume.SetAttribute("BioAttDenoise.Region", "axial slices 1-2 of 5")
    loaded.click(loaded.ui.exportButton)
    assert "Only part" in loaded.status
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
    """Slicer and the series may store the slices in different orders."""
    from dataclasses import replace

    from bioatt.core.volume import Volume
    from bioatt.worker.export import on_grid_of

    hu = np.random.default_rng(0).integers(-900, 900, (4, 6, 5)).astype(np.int16)
    source = Volume(hu, origin=(1.0, 2.0, 3.0))
    turned = Volume(
        hu[::-1, :, ::-1] + np.int16(7), origin=(1.0 + 4, 2.0, 3.0 + 3), direction=np.diag([-1.0, 1.0, -1.0])
    )
    np.testing.assert_array_equal(on_grid_of(source, turned).hu, hu + 7)
    with pytest.raises(Exception, match="does not match the volume's slices"):
        on_grid_of(source, replace(turned, origin=(0.0, 0.0, 0.0)))


def test_files_that_are_gone_are_no_source(loaded, slicer, series):
    from BioAttDenoiseLib.scene import dicom

    node = loaded.parameters.inputVolume
    assert dicom.source_series(node)[0] == series
    next(iter(Path(series).iterdir())).unlink()
    assert dicom.source_series(node) is None
