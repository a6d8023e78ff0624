"""The context of a part of a volume: converted to canonical order once, and the same as in the whole volume."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bioatt.core.canonical import canonical
from bioatt.core.errors import InputError
from bioatt.core.noise import noise_levels
from bioatt.core.volume import Volume
from bioatt.inference import context as contexts
from bioatt.inference.context import Context
from bioatt.priors import RandomPrior

AXES = {"axial": (0, 1, 2), "coronal": (1, 0, 2), "sagittal": (2, 0, 1)}


@pytest.fixture(params=[1, -1], ids=["forward", "reversed"])
def stack(request, make_volume):
    """Build a volume of slices in the named plane, stacked along its axis or against it."""

    def make(plane: str) -> Volume:
        axial = make_volume(slices=14, height=40, width=48, dtype=np.float32)
        direction = np.eye(3)[:, [2 - axis for axis in AXES[plane][::-1]]] * [1, 1, request.param]
        return Volume(axial.hu.transpose(AXES[plane]).copy(), spacing=(1.0, 1.0, 1.0), direction=direction)

    return make


@pytest.mark.parametrize("plane", AXES)
def test_a_part_has_voxels_prior_and_noise_of_its_volume(stack, plane):
    volume = stack(plane)
    wanted = range(5, 8)
    part, whole = (Context.of(volume, slices, 4, 4) for slices in (wanted, range(volume.shape[0])))
    np.testing.assert_array_equal(part.restored(part.hu), volume.hu[wanted.start : wanted.stop])
    np.testing.assert_array_equal(whole.restored(whole.hu), volume.hu)
    rows = whole.canonical.index_of(wanted)[0]
    np.testing.assert_array_equal(part.noise_levels(), noise_levels(canonical(volume).volume.hu)[rows])
    source = RandomPrior(("liver", "spine"))
    priors = [one.prior(source, None) for one in (part, whole)]
    np.testing.assert_array_equal(priors[0].p, priors[1].p[rows])
    assert priors[0].slice_ids == priors[1].slice_ids[rows]


@pytest.mark.parametrize("plane", ["coronal", "sagittal"])
def test_the_box_holds_the_halo_and_whole_blocks(stack, plane):
    volume = stack(plane)
    context = Context.of(volume, range(20, 21), 4, 4)
    axis = next(n for n, (box, wanted) in enumerate(zip(context.box, context.wanted, strict=True)) if box != wanted)
    box, wanted = context.box[axis], context.wanted[axis]
    assert box.start <= wanted.start - 4
    assert box.stop >= wanted.stop + 4
    assert box.start % 4 == 0
    assert (context.canonical.volume.shape[axis] - box.stop) % 4 in (0, context.canonical.volume.shape[axis] % 4)


def test_a_volume_is_brought_to_canonical_order_once(make_volume, make_model, monkeypatch):
    """Even for a network that uses the noise level and neighbours, with a prior smoothed along z."""
    from bioatt.inference.denoiser import Denoiser

    calls = []
    monkeypatch.setattr(contexts, "canonical", lambda volume: calls.append(volume.shape[0]) or canonical(volume))
    model = make_model(layout="slab_unet")
    Denoiser(model, device="cpu", precision="fp32").preview(make_volume(slices=12), 6)
    assert calls == [9]


def test_slices_beyond_the_volume_are_refused(make_volume):
    volume = make_volume(slices=3)
    with pytest.raises(InputError, match="not within"):
        Context.of(replace(volume), range(2, 4), 4, 4)
