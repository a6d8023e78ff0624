"""The family of reconstruction kernels."""

from __future__ import annotations

import numpy as np
import pytest

from bioatt.core.errors import InputError
from bioatt.simulation.tomography import FAMILY, Geometry, Kernel, fbp, kernel_named

SMALL = Geometry(cells=368, views=144, cell_mm=2.5716)


@pytest.mark.parametrize("kernel", FAMILY.values(), ids=FAMILY)
def test_each_kernel_keeps_the_mean_and_falls_off(kernel: Kernel) -> None:
    assert kernel.response(np.array([0.0]))[0] == pytest.approx(1.0)
    f = np.linspace(0, 3 * kernel.f10, 200)
    assert kernel.response(f)[-1] < 0.01
    if kernel.boost == 0:
        assert kernel.response(np.array([kernel.f50]))[0] == pytest.approx(0.5)
        assert kernel.response(np.array([kernel.f10]))[0] == pytest.approx(0.1)
    else:
        assert kernel.response(f).max() > 1.05


def test_noise_grows_from_smooth_to_sharp() -> None:
    views = np.random.default_rng(0).standard_normal((16, SMALL.views, SMALL.cells), np.float32)
    names = ["B10", "B20", "B30", "B40", "B50", "B60", "B70"]
    sigma = [fbp(views, SMALL, (64, 64), 0.8, FAMILY[name], extend=False).std() for name in names]
    assert np.all(np.diff(sigma) > 0)


@pytest.mark.parametrize(
    ("vendor", "name"),
    [
        ("B30f", "B30"), ("b31f", "B30"), ("B20s", "B20"), ("D45", "D45"), ("B45f", "B45"), ("I50f\\2", "B50"),
        ("B80s", "B70"), ("STANDARD", "STANDARD"), ("SOFT", "SOFT"), ("LUNG", "LUNG"), ("BONEPLUS", "BONE"),
        ("FC13", "B30"), ("FC23", "B40"), ("FC51", "LUNG"), ("B", "B30"), ("D", "DETAIL"), ("59 .10.AB50", "B50"),
    ],
)  # fmt: skip
def test_vendor_names_find_their_place(vendor: str, name: str) -> None:
    assert kernel_named(vendor).name == name


@pytest.mark.parametrize("name", ["", "wavelet", "42"])
def test_an_unknown_name_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="unknown reconstruction kernel"):
        kernel_named(name)


def test_impossible_kernels_are_refused() -> None:
    with pytest.raises(InputError, match="f50 < f10"):
        Kernel("x", 0.5, 0.4)
