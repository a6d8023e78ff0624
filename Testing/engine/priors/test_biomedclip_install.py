"""Installing BiomedCLIP from a hub that the test serves locally or from a copy, and removing it."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from bioatt.anatomy.descriptors import load_descriptor_set, parse_descriptor_set
from bioatt.core.errors import InputError
from bioatt.core.volume import Volume
from bioatt.priors import build_prior
from bioatt.priors.biomedclip.files import IMAGE_REPOSITORY, TEXT_REPOSITORY, default_folder, find_files, in_folder
from bioatt.priors.biomedclip.install import download, export_image_tower, import_folder, remove
from bioatt.priors.biomedclip.prior import BiomedCLIPPrior

PAPER = load_descriptor_set("paper17")
COMMIT = "1" * 40
WEIGHTS = "open_clip_pytorch_model.bin"


class Hub:
    """Two repositories that answer the three requests of the hub's client. `cut_at`: where to cut off the weights."""

    def __init__(self, folder: Path) -> None:
        names = {
            IMAGE_REPOSITORY: ("open_clip_config.json", WEIGHTS, "README.md"),
            TEXT_REPOSITORY: ("config.json", "vocab.txt"),
        }
        self.files = {
            (repository, name): (folder / name).read_bytes() if (folder / name).is_file() else b"read me"
            for repository, several in names.items()
            for name in several
        }
        self.damaged = ""
        self.cut_at: int | None = None
        self.ranges: list[str] = []

    def listing(self, repository: str) -> bytes:
        siblings = []
        for (owner, name), content in self.files.items():
            if owner == repository:
                entry = {"rfilename": name, "size": len(content), "blobId": _git_sha1(content)}
                if name == WEIGHTS:
                    entry["lfs"] = {
                        "sha256": hashlib.sha256(content).hexdigest(),
                        "size": len(content),
                        "pointerSize": 130,
                    }
                siblings.append(entry)
        return json.dumps({"id": repository, "sha": COMMIT, "siblings": siblings}).encode()


def _git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@pytest.fixture
def hub(build_small: Callable[..., Path], tmp_path: Path) -> Iterator[tuple[Hub, str]]:
    """The hub and its address."""
    state = Hub(build_small(tmp_path / "published", weights="bin"))

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, body: bool) -> None:
            listed = re.fullmatch(r"/api/models/([^/]+/[^/?]+).*", self.path)
            if listed:
                self._send(200, state.listing(listed[1]), body)
                return
            found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", self.path)
            assert found is not None, self.path
            content = state.files[found[1], found[2]]
            etag = hashlib.sha256(content).hexdigest() if found[2] == WEIGHTS else _git_sha1(content)
            if found[2] == state.damaged:
                content = content[:-1] + b"!"
            wanted = self.headers.get("Range")
            start = int(re.findall(r"bytes=(\d+)-", wanted)[0]) if wanted else 0
            if body and found[2] == WEIGHTS:
                state.ranges.append(wanted or "")
            cut = state.cut_at if body and found[2] == WEIGHTS else None
            self._send(206 if start else 200, content, body, etag, start, cut)

        def _send(
            self, status: int, content: bytes, body: bool, etag: str = "", start: int = 0, cut: int | None = None
        ) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content) - start))
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Accept-Ranges", "bytes")
            if etag:
                self.send_header("ETag", f'"{etag}"')
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.end_headers()
            if body:
                self.wfile.write(content[start:cut])
                if cut is not None:
                    self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield state, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_nothing_is_fetched_without_consent(hub: tuple[Hub, str]) -> None:
    with pytest.raises(InputError, match="790 MB"):
        download(consent=False, endpoint=hub[1])
    assert not hub[0].ranges
    assert not default_folder().exists()


def test_download_checks_converts_and_serves_the_prior(hub: tuple[Hub, str], torso: Volume, tmp_path: Path) -> None:
    folder = download(consent=True, endpoint=hub[1])
    assert folder == default_folder()
    assert sorted(path.name for path in folder.iterdir()) == [
        "biomedclip.json",
        "config.json",
        "open_clip_config.json",
        "open_clip_model.safetensors",
        "vocab.txt",
    ]
    manifest = json.loads((folder / "biomedclip.json").read_text())
    assert manifest["sources"] == {IMAGE_REPOSITORY: COMMIT, TEXT_REPOSITORY: COMMIT}
    p = build_prior("biomedclip", descriptors=PAPER, smoothing=False).probabilities(torso).p
    published = BiomedCLIPPrior(PAPER, str(tmp_path / "published")).probabilities(torso).p
    np.testing.assert_array_equal(p, published)
    assert remove()
    assert not default_folder().exists()
    assert not remove()


@pytest.mark.parametrize("name", [WEIGHTS, "vocab.txt"])
def test_damage_on_the_way_is_noticed(hub: tuple[Hub, str], name: str) -> None:
    hub[0].damaged = name
    with pytest.raises(InputError, match=f"downloaded {name} is damaged|could not be downloaded"):
        download(consent=True, endpoint=hub[1])
    assert not default_folder().exists()
    hub[0].damaged = ""
    assert download(consent=True, endpoint=hub[1]).is_dir()


def test_a_cut_off_download_goes_on_where_it_stopped(hub: tuple[Hub, str]) -> None:
    hub[0].cut_at = 300_000
    with pytest.raises(InputError, match="run the command again"):
        download(consent=True, endpoint=hub[1])
    assert not default_folder().exists()
    hub[0].cut_at = None
    hub[0].ranges.clear()
    download(consent=True, endpoint=hub[1])
    assert hub[0].ranges == ["bytes=300000-"]


def test_unreachable_hub_is_one_clear_line() -> None:
    with pytest.raises(InputError, match="could not be downloaded"):
        download(consent=True, endpoint="http://127.0.0.1:9")


def test_import_of_the_published_repository_alone(build_small: Callable[..., Path], tmp_path: Path) -> None:
    """The published repository has vocabulary and weights but no BERT config.json, so BERT-base's is written."""
    source = build_small(tmp_path / "stick", weights="bin")
    (source / "config.json").unlink()
    with pytest.raises(InputError, match="BiomedCLIP"):
        import_folder(source)  # the small text tower is not BERT-base: refused, not loaded wrongly
    assert not default_folder().exists()


def test_import_carries_an_air_gapped_copy(small: Path, torso: Volume, tmp_path: Path) -> None:
    first = import_folder(small, tmp_path / "connected")
    assert (first / "biomedclip.json").is_file()
    second = import_folder(first)
    assert second == default_folder()
    p = build_prior("biomedclip", descriptors=PAPER, smoothing=False).probabilities(torso).p
    np.testing.assert_array_equal(p, BiomedCLIPPrior(PAPER, str(small)).probabilities(torso).p)


def test_a_copy_damaged_on_the_stick_is_refused(small: Path, tmp_path: Path) -> None:
    stick = import_folder(small, tmp_path / "stick")
    weights = stick / "open_clip_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(content)
    with pytest.raises(InputError, match="is damaged"):
        import_folder(stick)


@pytest.mark.parametrize("missing", ["vocab.txt", "open_clip_model.safetensors", "open_clip_config.json"])
def test_incomplete_folders_are_not_imported(small: Path, tmp_path: Path, missing: str) -> None:
    source = tmp_path / "source"
    shutil.copytree(small, source)
    (source / missing).unlink()
    with pytest.raises(InputError, match="source lacks"):
        import_folder(source)
    assert not any(default_folder().parent.glob(f"{default_folder().name}*"))


def test_importing_what_is_not_there_or_already_there(small: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        import_folder(tmp_path / "nowhere")
    with pytest.raises(InputError, match="already installed"):
        import_folder(small, small)


def test_a_folder_that_holds_anything_else_is_left_alone(small: Path, tmp_path: Path) -> None:
    place = tmp_path / "models"
    place.mkdir()
    (place / "thesis.txt").touch()
    for act in (lambda: import_folder(small, place), lambda: download(True, place), lambda: remove(place)):
        with pytest.raises(InputError, match="empty it yourself"):
            act()
    assert [path.name for path in place.iterdir()] == ["thesis.txt"]


def test_image_tower_with_text_embeddings_runs_without_the_text_tower(
    small: Path, torso: Volume, tmp_path: Path, own_cache: Path
) -> None:
    stick = export_image_tower(find_files(str(small)), tmp_path / "stick", [PAPER])
    shutil.rmtree(own_cache)
    assert not (stick / "vocab.txt").exists()
    assert (stick / "open_clip_model.safetensors").stat().st_size < (
        small / "open_clip_model.safetensors"
    ).stat().st_size
    folder = import_folder(stick)
    assert in_folder(folder).text_folder is None
    p = build_prior("biomedclip", descriptors=PAPER, smoothing=False).probabilities(torso).p
    np.testing.assert_array_equal(p, BiomedCLIPPrior(PAPER, str(small)).probabilities(torso).p)
    other = parse_descriptor_set({"name": "other", "descriptors": [{"name": "liver"}, {"name": "bowel"}]})
    with pytest.raises(InputError, match="has no text tower"):
        build_prior("biomedclip", descriptors=other)


def test_offline_setting_is_respected(monkeypatch: pytest.MonkeyPatch, hub: tuple[Hub, str]) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match="HF_HUB_OFFLINE"):
        download(consent=True, endpoint=hub[1])
