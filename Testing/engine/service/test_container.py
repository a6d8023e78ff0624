"""The container's steps without Docker: the wheel builds from the files that are copied, and runs as in the container.

It runs as the Dockerfile's user, with its environment and entry point, on a read-only root with a fresh /tmp and no
network, using `unshare` and `setpriv`. The wheel's dependencies are those of this machine.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from pydicom import dcmread

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "Resources" / "Container"


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, with continued lines joined."""
    text = re.sub(r"\\\n", " ", (FOLDER / "Dockerfile").read_text(encoding="utf-8"))
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [tuple(line.split(None, 1)) for line in lines]  # type: ignore[misc]


def value(name: str) -> str:
    """The argument of the last instruction of this name."""
    return [text for key, text in instructions() if key == name][-1]


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    """Only the files that the first stage copies: the wheel must build from them."""
    context = tmp_path_factory.mktemp("context")
    for key, text in instructions():
        if key == "COPY" and not text.startswith("--from"):
            *sources, target = text.split()
            for source in sources:
                place = context / target / (source if target == "./" else "")
                if (ROOT / source).is_dir():
                    shutil.copytree(ROOT / source, place, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(ROOT / source, place)
    return context


@pytest.fixture(scope="module")
def site(context, tmp_path_factory):
    """The wheel, built from the context alone and unpacked."""
    folder = tmp_path_factory.mktemp("site")
    folder.chmod(0o755)
    build = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", build, str(context)], cwd=context, check=True, capture_output=True)
    with zipfile.ZipFile(next(context.glob("*.whl"))) as wheel:
        wheel.extractall(folder)
    return folder


BOX = """
set -eu
python=$1 base=$2 site=$3 work=$4 user=$5 script=$6
shift 6
top=/mnt
mount -t tmpfs -o mode=755 tmpfs $top
mkdir $top/base $top/packages $top/site $top/data
mount --bind "$base" $top/base
mount --bind "$(dirname "$python")/.." $top/packages
mount --bind "$site" $top/site
mount --bind "$work" $top/data
mount --bind -o remount,ro,bind $top/site
mkdir -p $top/hidden
mount -t tmpfs -o mode=755 tmpfs /root
mkdir -p "$base"
mount --bind $top/base "$base" 2>/dev/null || true
mount -t tmpfs -o mode=1777,size=256m tmpfs /tmp
mount -o remount,ro,bind $top
mount -o remount,ro,bind /
ip link set lo up 2>/dev/null || true
exec setpriv --reuid "${user%%:*}" --regid "${user##*:}" --clear-groups --no-new-privs "$@" sh -c "$script"
"""


@pytest.fixture
def image(site, tmp_path):
    """Run a script as in `docker run --read-only --tmpfs /tmp --network none -v ...:/mnt/data`; it is `image.work`."""
    if sys.platform != "linux" or os.geteuid() or not shutil.which("unshare") or not shutil.which("setpriv"):
        pytest.skip("namespaces take root on Linux, unshare and setpriv")
    work = tmp_path / "work"
    work.mkdir()

    def run(script: str, check: bool = True) -> subprocess.CompletedProcess:
        for path in (work, *work.rglob("*")):
            os.chown(path, *map(int, value("USER").split(":")))
        given = dict(pair.split("=", 1) for pair in shlex.split(value("ENV")))
        environment = {**given, "PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", "PYTHONPATH": "/mnt/site"}
        entry = " ".join(json.loads(value("ENTRYPOINT"))).replace("bioatt", "$BIOATT")
        environment["BIOATT"] = f"/mnt/packages/bin/{Path(sys.executable).name} -W ignore -m bioatt.cli"
        arguments = [sys.executable, sys.base_prefix, str(site), str(work), value("USER")]
        call = ["unshare", "--mount", "--net", "sh", "-c", BOX, "box", *arguments, script.replace("bioatt", entry)]
        done = subprocess.run(call, env=environment, capture_output=True, text=True, timeout=300, cwd="/")
        assert not check or done.returncode == 0, done.stderr
        return done

    run.work = work
    return run


def test_everything_that_is_copied_is_let_into_the_context():
    allowed = {line[1:] for line in (FOLDER / "Dockerfile.dockerignore").read_text().splitlines() if line[0] == "!"}
    copied = {
        source
        for key, text in instructions()
        if key == "COPY" and not text.startswith("--from")
        for source in text.split()[:-1]
    }

    assert copied == allowed


def test_the_image_installs_the_extra_that_its_node_needs_under_the_lock():
    (install,) = [text for key, text in instructions() if key == "RUN"]

    assert '".[node]"' in install
    assert "--constraint constraints.txt" in install


def test_it_runs_as_nobody_on_a_read_only_root_without_network(image):
    done = image(
        "id -u; touch /here 2>&1; touch /mnt/site/here 2>&1; cat /proc/net/route | wc -l; bioatt --help", check=False
    )

    assert done.stdout.startswith("10001\n")
    assert done.stdout.count("Read-only file system") == 2
    assert "denoise" in done.stdout


def test_plain_run_denoises_a_folder(image, series_writer):
    series_writer.write_series(image.work / "in", series_writer.ct_like(3, 32, 32))

    image("bioatt denoise /mnt/data/in /mnt/data/out --device cpu --prior uniform")

    assert len(list((image.work / "out").glob("*.dcm"))) == 3


def test_batch_denoises_a_tree(image, series_writer):
    series_writer.write_series(image.work / "in" / "a", series_writer.ct_like(3, 32, 32))

    image("bioatt batch /mnt/data/in /mnt/data/out --device cpu")

    assert len(list((image.work / "out").rglob("*.dcm"))) == 3


def test_the_default_command_is_the_module_of_mercure(image, series_writer):
    series_writer.write_series(image.work / "data", series_writer.ct_like(3, 32, 32), name="1.2#{:03d}.dcm")
    (image.work / "data" / "task.json").write_text('{"process": {"settings": {"strength": "medium"}}}')
    (image.work / "output").mkdir()
    command = " ".join(json.loads(value("CMD")))

    image(f"export MERCURE_IN_DIR=/mnt/data/data MERCURE_OUT_DIR=/mnt/data/output; bioatt {command} --device cpu")

    images = [dcmread(file) for file in (image.work / "output").iterdir()]
    assert len(images) == 3
    assert "medium" in images[0].SeriesDescription


def test_the_node_receives_and_delivers(image, series_writer):
    series_writer.write_series(image.work / "scan", series_writer.ct_like(3, 32, 32))
    (image.work / "out").mkdir()
    (image.work / "node.toml").write_text(
        'spool = "spool"\nfree_mb = 0\ndevice = "cpu"\n[listen]\nport = 11112\nquiet_s = 1\n'
        '[[destination]]\nname = "share"\nfolder = "out"\n'
    )
    (image.work / "send.py").write_text(
        "from pathlib import Path\nfrom pydicom import dcmread\nfrom pynetdicom import AE\n"
        "entity = AE('CT1')\nentity.add_requested_context('1.2.840.10008.5.1.4.1.1.2', '1.2.840.10008.1.2.1')\n"
        "peer = entity.associate('127.0.0.1', 11112, ae_title='BIOATT')\n"
        "assert all(peer.send_c_store(dcmread(f)).Status == 0 for f in sorted(Path('/mnt/data/scan').iterdir()))\n"
        "peer.release()\n"
    )
    python = f"/mnt/packages/bin/{Path(sys.executable).name}"

    done = image(
        "cd /mnt/data; bioatt node run node.toml > log & "
        "for i in $(seq 300); do grep -q accepts log 2>/dev/null && break; sleep 0.2; done; "
        f"{python} send.py && for i in $(seq 300); do ls out/2.25.*/0003.dcm 2>/dev/null && break; sleep 0.2; done; "
        "bioatt node status node.toml; kill %1 2>/dev/null || kill $!; wait"
    )

    assert "running" in done.stdout
    assert len(list((image.work / "out").rglob("*.dcm"))) == 3
