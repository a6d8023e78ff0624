"""The batch report in a real browser: headless Chromium."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from bioatt.service.batch import Batch
from bioatt.service.finding import find_series
from bioatt.service.report import report, write_report
from bioatt.service.studies import FAILED, Outcome

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
ASK = """<script>addEventListener("load", () => {
  const text = getComputedStyle(document.body).color, ground = getComputedStyle(document.body).backgroundColor
  const pictures = [...document.images].every(image => image.complete && image.naturalWidth > 0)
  const fits = document.documentElement.scrollWidth <= innerWidth
  document.title = ["asked", pictures, fits, ground, text].join(";")
})</script></body>"""


@pytest.fixture
def seen(tree, denoised, tmp_path):
    """Write a report and open it at a window width; returns [images load, page fits, background, text colour]."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip("needs a browser: apt install chromium")
    found, out = find_series(tree), tmp_path / "out"
    outcomes = [denoised(found.series[0]), denoised(found.series[1]), Outcome("x" * 200, FAILED, "y" * 300)]
    write_report(report(Batch(found, out, outcomes, 1.0)), out)
    page = (out / "report.html").read_text(encoding="utf-8")
    asking = tmp_path / "asking.html"
    asking.write_text(page.replace("</body>", ASK).replace("loading=lazy ", ""), encoding="utf-8")

    def ask(width, dark):
        scheme = [f"--blink-settings=preferredColorScheme={0 if dark else 1}"]
        options = ["--headless", "--no-sandbox", "--disable-gpu", f"--window-size={width},900", "--dump-dom", *scheme]
        options += [f"--user-data-dir={tmp_path / 'profile'}", asking.as_uri()]
        said = subprocess.run([browser, *options], capture_output=True, text=True, timeout=120, check=False)
        title = re.search("<title>asked;(.*?)</title>", said.stdout)
        assert title, said.stderr[-500:]
        return title.group(1).split(";")

    return ask


def _lightness(colour: str) -> float:
    return sum(map(int, re.findall(r"\d+", colour)[:3])) / 3


@pytest.mark.parametrize(("width", "dark"), [(1250, False), (1250, True), (500, False)])
def test_pictures_load_and_the_page_fits_light_and_dark(seen, width, dark):
    pictures, fits, ground, text = seen(width, dark)
    assert pictures == "true"
    assert fits == "true"
    assert (_lightness(ground) < _lightness(text)) == dark
