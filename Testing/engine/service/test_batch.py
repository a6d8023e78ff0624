"""`bioatt batch`: many scans, failures, interruptions, and the report."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest

from bioatt.cli import main
from bioatt.service.finding import Series, find_series
from bioatt.service.workers import Job, devices_for, run_locally


@pytest.fixture
def rules_file(rule, tmp_path):
    path = tmp_path / "rules.toml"
    path.write_text('[[rule]]\nname = "small"\nmodel = "tiny.safetensors"\nstrength = 0.5\n', encoding="utf-8")
    rule(tmp_path)
    return path


@pytest.fixture
def batch(tree, rules_file, tmp_path, capfd):
    """Run `bioatt batch` on the tree; returns the exit status, stdout, and the lines of stderr."""

    def run(*options, source=tree):
        given = ["batch", str(source), str(tmp_path / "out"), "--rules", str(rules_file), "--device", "cpu", *options]
        status = main(given)
        said = capfd.readouterr()
        return status, said.out, said.err.strip().splitlines()

    return run


def stamps(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and "report" not in path.name}


def test_a_bad_scan_does_not_stop_the_rest_and_the_next_run_does_the_rest_alone(batch, tree, series_writer, tmp_path):
    bad = sorted((tree / "a").iterdir())[1]
    content = bad.read_bytes()
    bad.write_bytes(content[:300])
    series_writer.write_series(tree / "mr", Modality="MR")
    status, out, said = batch("--json")
    report = json.loads(out)
    assert status == 2
    assert said[-1] == "bioatt: 1 of 3 scans failed: see report.html for the reasons"
    assert [(scan["name"], scan["status"]) for scan in report["scans"]] == [
        ("a/series_3", "failed"),
        ("b/c/scan", "done"),
        ("b/series_3", "done"),
    ]
    assert "truncated" in report["scans"][0]["reason"]
    assert report["images_left_out"] == {"modality MR": 5}
    assert any(line.startswith("[3/3] ") for line in said)
    first = stamps(tmp_path / "out")
    bad.write_bytes(content)
    status, out, said = batch()
    assert status == 0
    assert "1 done, 2 done before" in out
    assert {path: time for path, time in stamps(tmp_path / "out").items() if path in first} == first
    assert json.loads((tmp_path / "out" / "report.json").read_text())["counts"] == {"done": 1, "done before": 2}


class _Page(HTMLParser):
    """Collects the page's tags, text, and the links that it would load."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.loaded, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.loaded += [value for name, value in attributes if name in ("src", "href")]

    def handle_data(self, data):
        self.text += data


def test_the_report_is_a_table_and_one_page_that_loads_nothing(batch, tree, tmp_path):
    (tree / "a").rename(tree / "=<b>name")
    assert batch()[0] == 0
    rows = [*csv.DictReader((tmp_path / "out" / "report.csv").read_text(encoding="utf-8").splitlines())]
    assert [row["name"] for row in rows] == ["'=<b>name/series_3", "b/c/scan", "b/series_3"]
    assert all(float(row["noise_after_hu"]) > 0 for row in rows if row["noise_after_hu"])
    assert "liver_noise_before_hu" in rows[0]
    page = _Page((tmp_path / "out" / "report.html").read_text(encoding="utf-8"))
    assert page.tags.count("img") == page.tags.count("article") == 3
    assert all(value.startswith("data:image/webp;base64,") for value in page.loaded)
    assert "script" not in page.tags
    assert "b" not in page.tags[page.tags.index("article") :]
    assert "=<b>name/series_3" in page.text
    assert "Research use only" in page.text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--workers", "0"], "--workers 0"),
        (["--rules", "none.toml"], "none.toml cannot be opened"),
        (["--device", "cuda:7"], "cuda:7"),
    ],
)
def test_a_wrong_call_is_refused_before_the_work(batch, tmp_path, options, said):
    status, _, lines = batch(*options)
    assert status == 2
    assert said in lines[-1]
    assert not (tmp_path / "out" / "report.json").exists()


def test_an_unknown_model_and_an_output_in_the_input_are_refused(batch, rules_file, tree, tmp_path):
    assert main(["batch", str(tree), str(tree / "out")]) == 2
    assert not (tree / "out").exists()
    rules_file.write_text('[[rule]]\nmodel = "nosuch"\n', encoding="utf-8")
    status, _, lines = batch()
    assert status == 2
    assert "unknown model 'nosuch'" in lines[-1]


@pytest.fixture
def job(rule, tmp_path):
    return Job((rule(tmp_path),), tmp_path / "out")


def test_a_worker_that_is_killed_is_replaced_and_its_scan_done(tree, job):
    found, ended = find_series(tree).series, []
    for outcome in run_locally(found, job, ["cpu", "cpu"]):
        ended.append(outcome)
        if len(ended) == 1:
            for process in multiprocessing.active_children():
                os.kill(process.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
    assert sorted(outcome.name for outcome in ended) == [series.name for series in found]
    assert all(outcome.status.startswith("done") for outcome in ended)
    assert multiprocessing.active_children() == []


class _Deadly(Series):
    """A scan that ends the process that unpickles it."""

    def __reduce__(self):
        return os._exit, (1,)


def test_a_scan_that_ends_its_process_fails_and_the_rest_is_done(tree, job):
    found = [_Deadly("deadly", (tree,)), find_series(tree).series[1]]
    outcomes = {outcome.name: outcome for outcome in run_locally(found, job, ["cpu"])}
    assert outcomes["deadly"].status == "failed"
    assert "crashed its process 2 times" in outcomes["deadly"].reason
    assert outcomes["b/c/scan"].status == "done"


def test_workers_end_when_nobody_waits_for_them(tree, job, tmp_path):
    running = run_locally(find_series(tree).series, job, ["cpu", "cpu"])
    next(running)
    running.close()
    assert multiprocessing.active_children() == []
    assert not [path for path in (tmp_path / "out" / ".bioatt").iterdir() if path.is_dir()]


def test_one_worker_a_device_unless_asked_for_more():
    assert devices_for("cpu", None) == ["cpu"]
    assert devices_for("cpu", 3) == ["cpu"] * 3


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_batch_that_is_killed_leaves_no_process_and_goes_on(batch, tree, rules_file, tmp_path):
    words = ["batch", str(tree), str(tmp_path / "out"), "--rules", str(rules_file), "--device", "cpu"]
    with subprocess.Popen([sys.executable, "-m", "bioatt.cli", *words], stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr.readline().startswith("[1/3] ")
        threads = Path(f"/proc/{running.pid}/task").iterdir()
        workers = [int(pid) for thread in threads for pid in (thread / "children").read_text().split()]
        running.kill()
    assert workers
    until = time.monotonic() + 60
    while any(_runs(pid) for pid in workers):
        assert time.monotonic() < until
        time.sleep(0.1)
    status, out, _ = batch()
    assert status == 0
    assert "done before" in out
    assert [path for path in (tmp_path / "out" / ".bioatt").iterdir() if path.is_dir()] == []


def _runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="kills forks of a process that has loaded the engine")
def test_a_batch_killed_at_random_moments_publishes_whole_results_alone():
    script = Path(__file__).with_name("batch_kills.py")
    done = subprocess.run([sys.executable, str(script), "--count", "3"], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["kills"] == 3
    assert found["of them not whole"] == found["left half made"] == 0
    assert set(found["after the last kill"]) <= {"done", "done before"}
    assert found["input unchanged"]
