"""Prediction of the memory that denoising needs: linear in the slices, plus the network's share for one slice."""

from __future__ import annotations

import ctypes
import os
import platform
from contextlib import suppress
from pathlib import Path

BYTES_A_VOXEL = 12
"""In addition to the volume: its canonical form and the output in float32, masks, and the result in 16 bits."""
BYTES_A_PIXEL = 40
"""Per filter of the network: ten float32 feature maps at full resolution, as RED-CNN needs in PyTorch."""
PROGRAM_BYTES = 400 << 20


def predicted(shape: tuple[int, int, int], filters: int, *, cpu: bool = True, tile: int | None = None) -> int:
    """Bytes of main memory for slices (z, y, x) in addition to the volume. cpu: whether the network runs on the CPU."""
    slices, rows, columns = shape
    pixels = rows * columns if tile is None else min(tile**2, rows * columns)
    network = BYTES_A_PIXEL * filters * pixels if cpu else 0
    return PROGRAM_BYTES + BYTES_A_VOXEL * slices * rows * columns + network


def available() -> int | None:
    """Bytes that programs can still allocate without swapping; None if the system does not report it."""
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return 1024 * int(next(line.split()[1] for line in lines if line.startswith("MemAvailable")))
    if platform.system() == "Windows":
        return _available_on_windows()
    with suppress(AttributeError, OSError, ValueError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")  # macOS reports only the total
    return None


def _available_on_windows() -> int:
    class Status(ctypes.Structure):
        """MEMORYSTATUSEX of sysinfoapi.h."""

        _fields_ = (
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            *((name, ctypes.c_ulonglong) for name in ("total", "free", "page", "page_free", "virtual", "virtual_free")),
            ("extended", ctypes.c_ulonglong),
        )

    status = Status(length=ctypes.sizeof(Status))
    ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))  # type: ignore[attr-defined]
    return int(status.free)


def shortage(needed: int) -> str | None:
    """A warning if `needed` bytes exceed the available memory."""
    free = available()
    if free is None or needed <= free:
        return None
    return (
        f"about {needed / 2**30:.1f} GB of memory are needed but {free / 2**30:.1f} GB are free: close other programs, "
        "or denoise the volume in parts (--slices)"
    )
