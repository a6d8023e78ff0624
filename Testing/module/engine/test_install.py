"""What is installed, how, and after which question. Stand-ins for Slicer's installer and PyTorchUtils ensure that
nothing is really installed.
"""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path

import pytest
from places import MODULE

RESOURCES = MODULE / "Resources"


@pytest.fixture
def install(scene):
    from BioAttDenoiseLib.engine import install

    return install


@pytest.fixture
def world(slicer, install, monkeypatch):
    """Records the questions and the calls to each installer, and sets the user's answers."""
    from slicer import packaging

    calls = types.SimpleNamespace(
        asked=[], agree=True, torch=[], uninstalled=[], installed=[], restart=False, failure=None, details=[]
    )

    def ask(text, windowTitle=None, **more):
        calls.asked.append(text)
        calls.details.append(more.get("detailedText"))
        return calls.agree

    class PyTorchUtilsLogic:
        def installTorch(self, askConfirmation, torchVersionRequirement):
            if calls.failure is not None:
                raise calls.failure
            calls.torch.append((askConfirmation, torchVersionRequirement))

        def torchInstalled(self):
            raise AssertionError("never call torchInstalled: it imports torch into Slicer")

    monkeypatch.setitem(sys.modules, "PyTorchUtils", types.SimpleNamespace(PyTorchUtilsLogic=PyTorchUtilsLogic))
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", ask)
    monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", lambda text, title=None: calls.restart)
    monkeypatch.setattr(slicer.util, "pip_uninstall", calls.uninstalled.append)
    monkeypatch.setattr(slicer.util, "pip_install", calls.installed.append)
    monkeypatch.setattr(
        packaging, "pip_ensure", lambda wanted, **more: calls.__dict__.setdefault("rest", []).append((wanted, more))
    )
    return calls


def package(name, state, version=None):
    return {"requirement": f"{name}>=1", "name": name, "state": state, "version": version}


def test_nothing_to_do_asks_nothing(install, world):
    assert install.install([package("torch", "ok", "2.9")], "python") is False
    assert world.asked == []


def test_torch_by_its_extension_and_the_rest_by_slicer(install, world):
    assert not install.install([package("torch", "missing"), package("safetensors", "old", "0.3")], "python")
    assert len(world.asked) == 1
    assert world.torch == [(False, install.torch_requirement())]
    ((wanted, more),) = world.rest
    assert wanted == ["safetensors>=1"]
    assert set(more["skip_packages"]) == {"torch", "torchvision", "SimpleITK", "numpy", "pydicom"}
    assert more["prompt_install"] is False, "the user was asked once already"
    assert world.uninstalled == []


@pytest.mark.parametrize(("system", "expected"), [("Windows", ">=2.6,<2.13"), ("Linux", ">=2.6"), ("Darwin", ">=2.6")])
def test_versions_of_torch(install, monkeypatch, system, expected):
    monkeypatch.setattr(install.platform, "system", lambda: system)
    assert install.torch_requirement() == expected


@pytest.mark.parametrize("state", ["missing", "old"])
def test_where_no_torch_works_nothing_is_asked_or_installed(install, world, monkeypatch, state):
    """On Apple silicon, Slicer runs under Rosetta, where Python also reports x86_64."""
    from BioAttDenoiseLib.engine.errors import EngineError

    monkeypatch.setattr(install.platform, "system", lambda: "Darwin")
    monkeypatch.setattr(install.platform, "machine", lambda: "x86_64")
    with pytest.raises(EngineError, match=r"command line instead.* bioatt denoise"):
        install.install([package("torch", state), package("safetensors", "missing")], "python")
    assert (world.asked, world.torch, hasattr(world, "rest")) == ([], [], False)
    install.install([package("torch", "ok", "2.6"), package("safetensors", "missing")], "python")
    assert world.rest, "a torch of its own that works is taken"


def test_a_newer_torch_of_another_extension_stays(install, monkeypatch):
    """The upper bounds limit what the module installs, not what it accepts."""
    monkeypatch.setattr(install.platform, "system", lambda: "Windows")
    assert install.torch_requirement() == ">=2.6,<2.13"
    assert install.requirements(RESOURCES, "maps")[0] == "torch>=2.6"


def test_the_installer_and_the_words_get_the_upper_bound(install, world, monkeypatch):
    monkeypatch.setattr(install.platform, "system", lambda: "Windows")
    missing = {"requirement": "torch>=2.6", "name": "torch", "state": "missing", "version": None}
    install.install([missing], "python")
    assert world.torch == [(False, ">=2.6,<2.13")]
    assert world.details == ["torch>=2.6,<2.13: missing"]
    assert '"torch>=2.6,<2.13"' in install.offline([missing], "python")


def test_a_half_installed_torch_is_removed_first(install, world):
    install.install([package("torch", "broken")], "python")
    assert world.uninstalled == ["torch"]
    assert world.torch


@pytest.mark.parametrize("how", [{"record": False}, {"version": None}, {"code": False}])
def test_torch_is_installed_where_pip_cannot_remove_what_is_left(install, world, slicer, site, monkeypatch, how):
    """pip cannot uninstall a package that has no record, no version or no files."""

    def uninstall(name):
        raise subprocess.CalledProcessError(1, "pip")

    monkeypatch.setattr(slicer.util, "pip_uninstall", uninstall)
    site.add("torch", **how)
    install.install([package("torch", "broken")], "python")
    assert len(world.torch) == 1
    assert bool(list(site.folder.glob("torch-*.dist-info"))) == ("code" in how), "no leftovers that pip stops at"


@pytest.mark.parametrize("how", [{"record": False}, {"version": None}, {"code": False}])
def test_a_half_installed_package_is_repaired(install, world, site, monkeypatch, how):
    """Leftovers that pip cannot replace are removed; --force-reinstall is needed because the version looks right."""
    from importlib import metadata

    site.add("halfpackage", **how)
    site.add("halfpackage_more", record=False)
    needed = {"halfpackage": ["torch>=2", "not-there-at-all>=1"], "not-there-at-all": []}
    monkeypatch.setattr(metadata, "requires", lambda name: needed[name])
    install.install([package("halfpackage", "broken"), package("safetensors", "missing")], "python")
    assert world.installed == [
        ["--no-deps", "--force-reinstall", "halfpackage>=1"],
        ["--no-deps", "not-there-at-all>=1"],
    ]
    assert bool(list(site.folder.glob("halfpackage-*.dist-info"))) == ("code" in how)
    assert list(site.folder.glob("halfpackage_more-*.dist-info")), "another package is left alone"
    assert [wanted for wanted, _ in world.rest] == [["safetensors>=1"]]


def test_the_user_may_decline(install, world):
    from BioAttDenoiseLib.engine.errors import EngineError

    world.agree = False
    with pytest.raises(EngineError, match="Denoising needs torch"):
        install.install([package("torch", "missing")], "python")
    assert world.torch == []


def test_the_extension_pytorch_is_missing(install, world, monkeypatch):
    from BioAttDenoiseLib.engine.errors import EngineError

    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    with pytest.raises(EngineError, match="Extensions Manager"):
        install.install([package("torch", "missing")], "python")


def test_an_offline_computer_gets_exact_instructions(install, world):
    from BioAttDenoiseLib.engine.errors import EngineError

    world.failure = subprocess.CalledProcessError(1, "pip")
    with pytest.raises(EngineError) as caught:
        install.install(
            [package("torch", "missing"), package("safetensors", "missing")], "/opt/Slicer/bin/PythonSlicer"
        )
    text = str(caught.value)
    assert f'pip download --dest packages "torch{install.torch_requirement()}" "safetensors>=1"' in text
    assert '"/opt/Slicer/bin/PythonSlicer" -m pip install --no-index --find-links packages' in text
    assert f"Python {sys.version_info.major}.{sys.version_info.minor}" in text


def test_in_testing_mode_nothing_is_asked_or_installed(install, world, slicer, monkeypatch):
    from BioAttDenoiseLib.engine.errors import EngineError

    monkeypatch.setattr(type(slicer.app), "testing", True)
    with pytest.raises(EngineError, match="Not installed: torch"):
        install.install([package("torch", "missing")], "python")
    assert world.asked == world.torch == []


@pytest.mark.parametrize("answer", [True, False])
def test_a_restart_is_offered_after_torch(install, world, slicer, monkeypatch, answer):
    restarts, questions = [], []
    monkeypatch.setattr(slicer.util, "restart", lambda: restarts.append(1))
    monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", lambda text, title: questions.append(text) or answer)
    assert install.install([package("torch", "missing")], "python") is answer
    assert len(restarts) == answer
    assert "Unsaved changes to the scene will be lost" in questions[0]
    assert "save the scene" in questions[0]


def test_slicer_5_10_installs_without_touching_what_is_bundled(install, world, slicer, monkeypatch):
    """Slicer 5.10 has no slicer.packaging: packages are installed without dependencies, then those dependencies that
    are neither installed nor bundled.
    """
    from importlib import metadata

    tree = {
        "clip": ["torch>=2", "ftfy", "numpy", 'pytest; extra == "dev"'],
        "ftfy": ["wcwidth>=99", "packaging"],
        "wcwidth": [],
    }
    installed = []
    monkeypatch.setitem(sys.modules, "slicer.packaging", None)
    monkeypatch.delattr(slicer, "packaging", raising=False)
    monkeypatch.setattr(metadata, "requires", lambda name: tree[name])

    def version(name):
        if name in ("packaging", "wcwidth"):
            return "25"
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr(slicer.util, "pip_install", installed.append)
    install.install([{"requirement": "clip>=1", "name": "clip", "state": "missing", "version": None}], "python")
    assert installed == [["--no-deps", "clip>=1"], ["--no-deps", "ftfy"], ["--no-deps", "wcwidth>=99"]]


def test_open_clip_only_where_biomedclip_is_chosen(install):
    plain = " ".join(install.requirements(RESOURCES, "maps"))
    assert "open_clip" not in plain
    assert plain.startswith("torch>=")
    assert "safetensors" in plain
    assert "open_clip" in " ".join(install.requirements(RESOURCES, "biomedclip"))


def test_openvino_is_pinned_to_the_version_that_is_tested(install):
    locked = (MODULE.parent / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert len(install.optional(RESOURCES)) == 1
    assert set(install.optional(RESOURCES)) <= set(locked)


class Installation:
    """Writes distributions as they look in site-packages, complete or half-installed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, name: str, version: str | None = "2.9", record: bool = True, code: bool = True) -> None:
        info = self.folder / f"{name}-{version or '0'}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\n" + (f"Version: {version}\n" if version else "")
        )
        if record:
            (info / "RECORD").write_text(f"{name}/__init__.py,,\n")
        if code:
            (self.folder / name).mkdir()
            (self.folder / name / "__init__.py").write_text("raise RuntimeError('imported')")


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    return Installation(tmp_path)


@pytest.mark.parametrize(
    ("how", "state"),
    [
        ({}, "ok"),
        ({"version": "1.0"}, "old"),
        ({"version": None}, "broken"),
        ({"record": False}, "broken"),
        ({"code": False}, "broken"),
        (None, "missing"),
    ],
)
def test_states_by_metadata_alone(site, how, state):
    """A half-installed package has metadata without version or record, or no code. The check imports nothing."""
    from bioatt.worker.installation import check_requirements

    if how is not None:
        site.add("halftorch", **how)
    (found,) = check_requirements(["halftorch>=2.6"])
    assert found["state"] == state


def test_first_denoise_installs_and_goes_on(make_driver, make_ct, world, slicer, monkeypatch, tmp_path):
    """Clicks only: Denoise → question → installation → a fresh process finds the packages → denoised."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    site = Installation(tmp_path)
    (tmp_path / "requirements.txt").write_text("halftorch>=2.6\n")
    (tmp_path / "requirements-openvino.txt").touch()
    make_ct()
    driver = make_driver()
    driver.behave("steady")
    driver.panel.readiness.resources = tmp_path
    driver.panel.readiness.forget()
    monkeypatch.setattr("slicer.packaging.pip_ensure", lambda wanted, **more: site.add("halftorch"))
    driver.denoise()
    assert len(world.asked) == 1
    assert "Done" in driver.status
    driver.denoise()
    assert len(world.asked) == 1, "asked once"


def test_a_declined_installation_leaves_everything_usable(make_driver, make_ct, world, slicer, monkeypatch, tmp_path):
    (tmp_path / "requirements.txt").write_text("not-there-at-all>=2.6\n")
    (tmp_path / "requirements-openvino.txt").touch()
    make_ct()
    driver = make_driver()
    driver.panel.readiness.resources = tmp_path
    driver.panel.readiness.forget()
    world.agree = False
    driver.denoise()
    assert "Denoising needs not-there-at-all" in driver.status
    assert driver.ui.denoiseButton.enabled
    driver.denoise()
    assert len(world.asked) == 2
