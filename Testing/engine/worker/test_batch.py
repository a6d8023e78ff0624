"""The request `batch`: the same results as from the command, progress, and cancelling."""

from __future__ import annotations

import io
import json
import multiprocessing

import pytest

from bioatt.cli import main
from bioatt.worker.channel import Channel, parse_request
from bioatt.worker.server import Worker


class _Sent(io.BytesIO):
    """What a worker has sent. A test may inspect each line as it is written."""

    look = staticmethod(lambda line: None)

    def write(self, line):
        self.look(json.loads(line))
        return super().write(line)

    @property
    def replies(self):
        return [json.loads(line) for line in self.getvalue().splitlines()]


@pytest.fixture
def sent():
    return _Sent()


@pytest.fixture
def worker(sent, tmp_path):
    return Worker(Channel(sent), tmp_path, find_devices=lambda: [{"name": "cpu", "label": "CPU"}])


@pytest.fixture
def ask(worker, sent, series_writer, make_model, tmp_path):
    """ask(**fields) denoises two series with a small model and returns the last reply."""
    make_model()
    for name in "ab":
        series_writer.write_series(tmp_path / "in" / name, series_writer.ct_like(3, 32, 32, seed=ord(name)))

    def answer(**fields):
        request = {"source": {"path": str(tmp_path / "in")}, "output": {"path": str(tmp_path / "out")}, **fields}
        worker.answer(parse_request(json.dumps({"type": "batch", "id": 1, **request}).encode()))
        return sent.replies[-1]

    return answer


def test_it_does_what_the_command_does(ask, sent, tmp_path):
    settings = {"model": str(tmp_path / "tiny.safetensors"), "strength": 0.5, "device": "cpu"}
    reply = ask(**settings)
    assert reply["type"] == "result", reply
    assert reply["report"] == json.loads((tmp_path / "out" / "report.json").read_text())
    assert reply["report"]["counts"] == {"done": 2}
    assert reply["page"] == str(tmp_path / "out" / "report.html")
    told = [one for one in sent.replies if one["type"] == "progress"]
    assert told[-1] == {"type": "progress", "id": 1, "fraction": 1, "done": 2, "scans": 2, "eta_s": 0}
    assert any(one["fraction"] > 0 and one["done"] == 0 for one in told), "within a scan too"
    (tmp_path / "rules.toml").write_text('[[rule]]\nmodel = "tiny.safetensors"\nstrength = 0.5\n')
    words = [str(tmp_path / "in"), str(tmp_path / "out"), "--rules", str(tmp_path / "rules.toml"), "--device", "cpu"]
    assert main(["batch", *words]) == 0
    assert json.loads((tmp_path / "out" / "report.json").read_text())["counts"] == {"done before": 2}
    assert ask(rules=str(tmp_path / "rules.toml"))["report"]["counts"] == {"done before": 2}


def test_cancel_ends_its_processes_and_leaves_nothing_half_made(ask, sent, worker, tmp_path):
    sent.look = lambda reply: worker.cancelled.add(1) if reply.get("fraction") else None
    reply = ask(model=str(tmp_path / "tiny.safetensors"), device="cpu")
    assert (reply["type"], reply["kind"]) == ("error", "cancelled")
    assert multiprocessing.active_children() == []
    assert not [path for path in (tmp_path / "out" / ".bioatt").iterdir() if path.is_dir()]
    assert not (tmp_path / "out" / "report.json").exists()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"strength": 2}, "strength"),
        ({"device": "gpu"}, "no graphics card found"),
        ({"rules": "none.toml"}, "none.toml cannot be opened"),
    ],
)
def test_what_cannot_be_used_is_refused_before_the_work(ask, tmp_path, fields, said):
    reply = ask(**fields)
    assert (reply["type"], reply["kind"]) == ("error", "input")
    assert said in reply["message"]
    assert not (tmp_path / "out").exists()
