"""The worker with a stand-in for the denoiser, to test everything around it. The model's name selects its behaviour.

steady    subtracts 20 HU · strength, at once              slow       the same, 50 ms a slice, cancels when asked
stubborn  ignores cancel requests                          crash      the process ends in the middle (exit status 3)
killed    the process is killed in the middle (SIGKILL)    memory     memory runs out
full      the disk is full                                 chatty     prints on stdout, from Python and from C
lost      a file is missing: OSError                       half      hangs with the output file half written
missing   a library is missing                             refused    the input is refused
airy      the noise cannot be measured                     refused at once    measuring noise is refused
by noise  a level's strength is slices / 100, not its share

SciPy and SimpleITK are imported only when needed: hundreds of tests start this process, and many never denoise.
"""

import errno
import os
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "BioAttDenoise"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
from stand_in_organs import NoOrgans, organs

from bioatt.anatomy.descriptors import load_descriptor_set
from bioatt.core.errors import BioAttError, Cancelled, InputError
from bioatt.core.strength import parse_strength
from bioatt.worker.server import Worker, main

WAY = "PyTorch, float32, 1 thread"
DESCRIPTORS = ("lungs", "heart", "liver")


class StandInDenoiser:
    """Stands in for `bioatt.inference.denoiser.Denoiser`, as far as the worker uses it."""

    def __init__(
        self, model, *, prior="maps", descriptors=None, device="auto", precision="auto", tile=None, backend="auto"
    ):
        if model == "unknown":
            raise InputError("unknown model 'unknown': use steady")
        if descriptors is not None:
            load_descriptor_set(descriptors).check_covers(DESCRIPTORS)
        self.behaviour, self.prior, self.device = model, prior, device
        self.model = SimpleNamespace(
            name=model, version="1", sha256="f" * 64, descriptors=DESCRIPTORS, metadata={"descriptor_set": "three"}
        )
        self.descriptors = SimpleNamespace(name="three", text_hash="d" * 64)
        if prior.endswith(".json"):
            from bioatt.priors import FixedPrior

            self.p = FixedPrior.from_file(Path(prior)).prior.p[0]
        else:
            self.p = np.array([0.5, 0.3, 0.2], np.float32)
        self.compute, self.way = SimpleNamespace(device="cpu", precision="fp32"), WAY

    def denoise(
        self,
        volume,
        strength=1.0,
        *,
        organ_strength=None,
        anatomy=None,
        slices=None,
        attention=None,
        progress=None,
        cancelled=None,
        p=None,
    ):
        asked = strength if isinstance(strength, str) else ""
        strength, said = self._strength_for(asked, volume) if asked else (parse_strength(strength), [])
        part = volume if slices is None else volume.part(slices)
        count = part.shape[0]
        for k in range(count):
            if k == count // 2:
                self._misbehave()
            if self.behaviour in ("slow", "stubborn"):
                time.sleep(0.05)
            if cancelled is not None and self.behaviour != "stubborn" and cancelled():
                raise Cancelled("cancelled")
            progress((k + 1) / count, k + 1, count, 0.05 * (count - k - 1))
        p = np.tile(np.array(self.p if p is None else p, np.float32), (count, 1))
        table = {
            "descriptors": DESCRIPTORS,
            "slices": part.slice_ids,
            "probabilities": p.tolist(),
            "source": self.prior,
        }
        maps = {}
        if attention is not None:
            names = [*(DESCRIPTORS if attention.descriptors is None else attention.descriptors), "unified"]
            keys = [(stage, name) for stage in attention.stages for name in names]
            maps = {key: SimpleNamespace(hu=np.full(part.shape, 128 + n, np.uint8)) for n, key in enumerate(keys)}
        return SimpleNamespace(
            volume=part.with_hu(part.hu - np.float32(20) * self.shares(part, strength, organ_strength or {})),
            prior=SimpleNamespace(as_table=lambda: table),
            model=self.model,
            device="cpu",
            precision="fp32",
            way=WAY,
            backend="stand-in",
            threads=1,
            seconds=0.1,
            strength=strength,
            strength_asked=asked,
            organ_strength=organ_strength or {},
            anatomy=None,
            noise=(20.0, 8.0),
            noise_before=np.full(count, 20.0),
            noise_after=np.full(count, 8.0),
            warnings=(*part.warnings, *said),
            attention=maps,
        )

    def preview(self, volume, slice_index, *, strength=1.0, p=None, **organs):
        part = range(slice_index, slice_index + 1)
        return self.denoise(
            volume, strength, slices=part, progress=lambda *_: None, cancelled=lambda: False, p=p, **organs
        )

    def noise_removal(self, volume, cancelled=None):
        """A level's strength equals its share of the noise; "slow" takes 0.2 s."""
        if self.behaviour == "slow":
            time.sleep(0.2)
        if self.behaviour == "airy":
            return None
        if self.behaviour == "refused at once":
            raise InputError("this is refused")
        noise = float(len(volume.hu))
        if self.behaviour == "by noise":
            return SimpleNamespace(noise_hu=noise, strength=lambda share: noise / 100, removed=lambda strength: 1.0)
        return SimpleNamespace(noise_hu=noise, strength=lambda share: share, removed=lambda strength: strength)

    @staticmethod
    def shares(part, strength, by_organ):
        """(1, 1, x) strengths: the overall strength averaged with that of liver (left half) or lungs (right half)."""
        half = part.shape[2] // 2
        shares = np.full((1, 1, part.shape[2]), strength, np.float32)
        for name, place in (("liver", slice(None, half)), ("lungs", slice(half, None))):
            shares[..., place] = (strength + by_organ.get(name, strength)) / 2
        return shares

    def _strength_for(self, level, volume):
        from bioatt.inference.strength import strength_for

        return strength_for(level, self.noise_removal(volume))

    def _misbehave(self):
        if self.behaviour == "crash":
            os._exit(3)
        if self.behaviour == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.behaviour == "memory":
            raise MemoryError
        if self.behaviour == "full":
            raise OSError(errno.ENOSPC, "No space left on device")
        if self.behaviour == "missing":
            raise ModuleNotFoundError("No module named 'safetensors'")
        if self.behaviour == "refused":
            raise InputError("every voxel is 0 HU: the volume is empty")
        if self.behaviour == "lost":
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", "/data/Doe^John/scan.nrrd")
        if self.behaviour == "half":
            from bioatt.io import images

            images._verify = lambda *_: time.sleep(60)  # by now the file exists under its temporary name
        if self.behaviour == "fault":
            raise BioAttError("something that should not happen")
        if self.behaviour == "chatty":
            print("hello from Python")
            sys.__stdout__.write("more from Python\n")
            os.system("echo hello from a child")


def stood_in(init):
    """`Worker.__init__` with stand-ins for organ maps and batches; real code measures the organs of a label volume."""

    def make(self, *arguments, **more):
        init(self, *arguments, **more)
        measure = self.handlers["organs"]
        self.handlers["organs"] = lambda request: (
            measure(request) if isinstance(request.get("anatomy"), dict) else organs(self, request)
        )
        self.handlers["batch"] = lambda request: batch(self, request)

    return make


def batch(worker, request):
    """The request `batch` without torch: the stand-in denoises the scans, in a separate process."""
    from bioatt.service import batch

    batch._check_models = lambda rules: None
    batch.devices_for = lambda device, workers: ["cpu"]
    return Worker.batch(worker, request)


def engine_of(device, of):
    return SimpleNamespace(denoiser=lambda model: StandInDenoiser(model, device=device), anatomy=NoOrgans())


if __name__ == "__mp_main__":  # a worker process of a batch
    from bioatt.service import workers

    workers.engine_of = engine_of

if __name__ == "__main__":
    Worker.__init__ = stood_in(Worker.__init__)
    main(
        make_denoiser=lambda options: StandInDenoiser(**asdict(options)),
        find_devices=lambda: [{"name": "cpu", "label": "CPU, 4 threads"}],
    )
