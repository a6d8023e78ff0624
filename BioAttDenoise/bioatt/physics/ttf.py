"""Task transfer function of a disc's edge (AAPM TG-233: Samei 2019, 10.1002/mp.13763)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bioatt.core.errors import InputError
from bioatt.physics.nps import Spectrum


def ttf(images: NDArray, centre_yx: tuple[float, float], radius_mm: float, pixel_mm: float) -> Spectrum:
    """Task transfer function of a disc's edge in images (n, y, x) of the same disc, 1 at zero frequency.

    Pixels within the smaller of `radius_mm` and 10 mm from the edge give the edge spread over the distance to it, in
    steps of a tenth of a pixel, averaged over all images; its derivative under a tapered window gives the TTF.
    centre_yx in pixels. Raises InputError if the ring does not fit in the images.
    """
    images = np.asarray(images, np.float64)
    height, width = images.shape[1:]
    reach = min(radius_mm, 10.0)
    y, x = np.mgrid[:height, :width]
    distance = np.hypot(y - centre_yx[0], x - centre_yx[1]) * pixel_mm - radius_mm
    room = min(centre_yx[0], centre_yx[1], height - 1 - centre_yx[0], width - 1 - centre_yx[1]) * pixel_mm
    if room < radius_mm + reach:
        raise InputError(f"the edge of a disc of {radius_mm:g} mm and {reach:g} mm around it must lie in the image")
    near = np.abs(distance) < reach
    step = pixel_mm / 10
    index = ((distance[near] + reach) / step).astype(int)
    bins = int(2 * reach / step)
    index = np.minimum(index, bins - 1)
    samples = np.bincount(index, minlength=bins)
    spread = np.bincount(index, images.mean(0)[near], minlength=bins)
    filled = samples > 0
    position = (np.arange(bins) + 0.5) * step
    edge = np.interp(position, position[filled], spread[filled] / samples[filled])
    line = np.gradient(edge, step)
    middle = int(np.argmax(np.abs(np.convolve(line, np.ones(15), "same"))))
    # flat up to half the reach: a window that falls off immediately narrows the line spread (5 % in variance at 1 mm)
    beyond = np.clip(4 * np.abs(np.arange(bins) - middle) / bins - 1, 0, 1)
    taper = 0.5 + 0.5 * np.cos(np.pi * beyond)
    transfer = np.abs(np.fft.rfft(line * taper, 16 * bins))
    frequency = np.fft.rfftfreq(16 * bins, step)
    # the difference quotient spans two steps
    transfer = transfer / np.maximum(np.sinc(2 * frequency * step), 1e-3)
    shown = frequency <= 0.5 / pixel_mm
    return Spectrum(np.asarray(frequency[shown], np.float64), transfer[shown] / transfer[0])
