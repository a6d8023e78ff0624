"""Train the shipped networks `bioatt` and `bioatt-fast` together on the same batches, with one recipe in one stage.

On scans, the fast network learns from the other's output, which is less noisy than the target; on simulated torsos,
both learn from the ground truth. AdamW, cosine schedule over steps or time, averaged weights, bf16 if the hardware
supports it.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from bioatt.compute.device import cpu_has_bf16
from bioatt.core.hu import SCALE_HU
from bioatt.io.files import atomic_write
from bioatt.network.slab_unet import NEIGHBOURS, SlabUNet
from bioatt.network.unet import ResidualBlock
from bioatt_training.data.noise_texture import LEVEL_STEP
from bioatt_training.fit.objectives import interior
from bioatt_training.slabs.batches import Batch, Batches, Drawing
from bioatt_training.slabs.pack import Pack

RECORD = "slabs.json"
STATE = "slabs-state.pt"
MEANS_PX = 20
MARGIN_PX = 14
SYNC_STEPS = 20
VALIDATION_BATCHES = 4


@dataclass(frozen=True)
class Recipe:
    """The training recipe. filters: of each network by name, the teacher first.

    floor_hu: added in quadrature to the input's error, the divisor of all errors; at the start and from progress
    `floor_until` on. means_weight: weight of means over 20 px. bias_weight: weight of the error common to two opposite
    noises if `drawing.opposite`; it fades at a noise of bias_noise_hu. attention_weight: weight of the maps'
    cross-entropy with organ maps.
    """

    filters: Mapping[str, int] = field(default_factory=lambda: {"bioatt": 32, "bioatt-fast": 16})
    drawing: Drawing = field(default_factory=Drawing)
    steps: int = 40_000
    learning_rate: float = 1e-3
    least_rate: float = 2e-6
    warm_up: int = 300
    weight_decay: float = 1e-4
    clip: float = 1.0
    averaging: float = 0.998
    floor_hu: tuple[float, float] = (20.0, 4.0)
    floor_until: float = 0.75
    means_weight: float = 5.0
    bias_weight: float = 100.0
    bias_noise_hu: float = 16.0
    attention_weight: float = 0.01
    distil_from: float = 0.2
    seed: int = 1


@dataclass
class Stop:
    """Set by a signal: save the state and end the training."""

    asked: bool = False


class Schedule(NamedTuple):
    """Scheduled values as device tensors read by each step: learning rate, floor of the errors' divisor, whether the
    teacher is used (0 or 1), and update rate of the weight averages.
    """

    rate: Tensor
    floor: Tensor
    teacher: Tensor
    forgetting: Tensor

    @classmethod
    def on(cls, device: torch.device) -> Schedule:
        """All 0."""
        return cls(*(torch.zeros((), device=device) for _ in range(4)))


class Training:
    """Networks, averages, optimisers and step, new or restored from `folder`."""

    def __init__(self, pack: Pack, recipe: Recipe, folder: Path, device: torch.device) -> None:
        torch.manual_seed(recipe.seed)
        self.pack, self.recipe, self.folder, self.device = pack, recipe, folder, device
        n = len(pack.descriptors)
        self.schedule = Schedule.on(device)
        self.networks = {name: _placed(SlabUNet("bioatt", width, n), device) for name, width in recipe.filters.items()}
        self.averages = {name: copy.deepcopy(one).requires_grad_(False) for name, one in self.networks.items()}
        self.optimisers = {name: _optimiser(one, recipe, self.schedule, device) for name, one in self.networks.items()}
        self.batches = Batches(pack, recipe.drawing, device)
        self.validation = _validation(pack, recipe.drawing, device)
        self.record: dict[str, Any] = {"recipe": _plain(asdict(recipe)), "step": 0, "progress": 0.0, "history": []}
        native = device.type == "cuda" or cpu_has_bf16()
        self.arithmetic: Callable[[], Any] = (
            (lambda: torch.autocast(device.type, torch.bfloat16)) if native else nullcontext
        )
        self._replay: Callable[[], dict[str, Tensor]] | None = None
        if (folder / RECORD).is_file():
            self._go_on()

    @property
    def step(self) -> int:
        """Steps done."""
        return int(self.record["step"])

    def run(self, limit_s: float, save_every_s: float, stop: Stop, say: Callable[[str], None] = print) -> None:
        """Train until the steps are done or the time is over, saving periodically."""
        self._wait()
        start = saved = time.monotonic()
        first, began = self.step, self.record["progress"]
        sums: dict[str, Tensor] = {}
        since = self.step
        while not stop.asked:
            elapsed = time.monotonic() - start
            share = max((self.step - first) / max(self.recipe.steps - first, 1), elapsed / limit_s)
            self.record["progress"] = progress = began + (1 - began) * min(share, 1.0)
            if progress >= 1:
                break
            for name, value in self._train_step(progress).items():
                sums[name] = sums.get(name, 0.0) + value
            self.record["step"] += 1
            if self.step % SYNC_STEPS == 0:
                self._wait()
            if time.monotonic() - saved > save_every_s:
                self._report(time.monotonic() - start, sums, self.step - since, say)
                self.save(whole=True)
                sums, since, saved = {}, self.step, time.monotonic()
        self._wait()
        self._report(time.monotonic() - start, sums, max(self.step - since, 1), say)
        self.save(whole=True)

    def _train_step(self, progress: float) -> dict[str, Tensor]:
        """Train on the next batch; returns the loss terms, on the device."""
        recipe = self.recipe
        rate = min((self.step + 1) / recipe.warm_up, 1.0) * (
            recipe.least_rate + (recipe.learning_rate - recipe.least_rate) * (1 + math.cos(math.pi * progress)) / 2
        )
        first, last = (math.log(one) for one in recipe.floor_hu)
        floor = math.exp(first + (last - first) * min(progress / recipe.floor_until, 1)) / SCALE_HU
        self.schedule.rate.fill_(rate)
        self.schedule.floor.fill_(floor)
        self.schedule.teacher.fill_(float(progress > recipe.distil_from))
        self.schedule.forgetting.fill_(1 - min(recipe.averaging, self.step / (self.step + 10)))
        if self.device.type != "cuda":
            self.batches.seed(self.step)
            return self._on_device()
        if self._replay is None:
            self.batches.seed(self.step)
            self._replay = self._capture()
        return self._replay()

    def _on_device(self) -> dict[str, Tensor]:
        """One step that reads nothing from the host, so that a GPU can replay it (CUDA graph)."""
        recipe, schedule = self.recipe, self.schedule
        batch = self.batches.draw()
        phantoms = self.batches.phantoms
        losses: dict[str, Tensor] = {}
        teacher: Tensor | None = None
        p = functional.interpolate(batch.p, scale_factor=float(LEVEL_STEP), mode="nearest")
        for name, network in self.networks.items():
            record: dict[Any, list[Tensor]] = {}
            with self.arithmetic():
                output = network(batch.x, p, record).float()
            target = batch.target
            if teacher is not None:
                learned = torch.lerp(target, teacher, schedule.teacher)
                target = torch.cat([target[:phantoms], learned[phantoms:]])
            teacher = output.detach() if teacher is None else teacher
            parts = self._losses(output, target, batch, phantoms)
            parts["attention"] = _attention_loss(record, batch.maps)
            loss = parts["error"] + recipe.bias_weight * parts["bias"] + recipe.attention_weight * parts["attention"]
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), recipe.clip, foreach=True)
            self.optimisers[name].step()
            self.optimisers[name].zero_grad(set_to_none=False)
            with torch.no_grad():
                for average, weight in zip(self.averages[name].parameters(), network.parameters(), strict=True):
                    average.lerp_(weight, schedule.forgetting)
            losses |= {f"{name} {part}": value.detach() for part, value in parts.items()}
        return losses

    def _capture(self) -> Callable[[], dict[str, Tensor]]:
        """The step as a CUDA graph, so that the GPU does not wait for Python to launch thousands of kernels."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self._on_device()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self.batches.random)
        with torch.cuda.graph(graph):
            losses = self._on_device()

        def replay() -> dict[str, Tensor]:
            graph.replay()
            return losses

        return replay

    def _losses(self, output: Tensor, target: Tensor, batch: Batch, phantoms: int) -> dict[str, Tensor]:
        recipe, floor = self.recipe, self.schedule.floor
        output, target, truth, low = (
            interior(one, MARGIN_PX) for one in (output, target, batch.target, batch.x[:, :1])
        )
        before = torch.mean((low - truth) ** 2, dim=(1, 2, 3))
        difference = output - target
        error = torch.mean(difference**2, dim=(1, 2, 3))
        error = error + recipe.means_weight * torch.mean(
            functional.avg_pool2d(difference, MEANS_PX) ** 2, dim=(1, 2, 3)
        )
        parts = {"error": torch.mean(error / (before + floor**2)), "bias": output.sum() * 0}
        if phantoms and recipe.drawing.opposite:
            common = torch.mean(difference[:phantoms].unflatten(0, (-1, 2)).mean(dim=1) ** 2, dim=(1, 2, 3))
            noise = before[:phantoms].unflatten(0, (-1, 2)).mean(dim=1)
            fading = (1 + noise / (recipe.bias_noise_hu / SCALE_HU) ** 2) ** -2
            parts["bias"] = torch.mean(fading * common / (noise + floor**2)) * phantoms / len(output)
        return parts

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Error of the averages on validation slices relative to their input's, with and without neighbours; dead
        units.
        """
        found: dict[str, float] = {}
        for name, network in self.averages.items():
            found[f"{name} dead"] = dead_units(network, self.validation[0])
            for label, hidden in (("with", False), ("alone", True)):
                squared, before, count = 0.0, 0.0, 0
                for batch in self.validation:
                    x = batch.x.clone()
                    seen = (x[:, 2 + NEIGHBOURS :, 0, 0] > 0).any(dim=1)
                    if hidden:
                        x[:, 2 + NEIGHBOURS :] = 0
                    p = functional.interpolate(batch.p, scale_factor=float(LEVEL_STEP), mode="nearest")
                    with self.arithmetic():
                        output = network(x, p).float()
                    a, b = (
                        torch.mean(interior(one - batch.target, MARGIN_PX) ** 2, dim=(1, 2, 3))
                        for one in (output, batch.x[:, :1])
                    )
                    relative = a / b
                    squared += float(relative[seen].sum() if label == "with" else relative.sum())
                    before += float(relative[seen].sum())
                    count += int(seen.sum() if label == "with" else len(relative))
                    if hidden:
                        found[f"{name} hidden"] = before
                found[f"{name} {label}"] = squared / max(count, 1)
            found.pop(f"{name} hidden", None)
        return found

    def _report(self, seconds: float, sums: Mapping[str, Tensor], steps: int, say: Callable[[str], None]) -> None:
        row = {"step": self.step, "seconds": seconds, "progress": self.record["progress"]}
        row |= {name: float(value) / steps for name, value in sums.items()} | self.validate()
        self.record["history"].append(row)
        say(" | ".join(f"{name} {value:.5g}" for name, value in row.items()))
        if not all(math.isfinite(value) for value in row.values()):
            raise FloatingPointError(f"the training diverged after {self.step} steps: lower the learning rate")

    def save(self, *, whole: bool) -> None:
        """Write averaged weights in float16 by network, the record, and the state to resume from."""
        for name, network in self.averages.items():
            weights = {key: value.detach().cpu().half() for key, value in network.state_dict().items()}
            with atomic_write(self.folder / f"{name}.pt") as partial:
                torch.save(weights, partial)
        if whole:
            state = {
                name: {
                    "network": network.state_dict(),
                    "average": self.averages[name].state_dict(),
                    "optimiser": self.optimisers[name].state_dict(),
                }
                for name, network in self.networks.items()
            }
            for name, one in state.items():
                with atomic_write(self.folder / f"{name}-{STATE}") as partial:
                    torch.save(one, partial)
        with atomic_write(self.folder / RECORD) as partial:
            partial.write_text(json.dumps(self.record), encoding="utf-8")

    def _go_on(self) -> None:
        known = json.loads((self.folder / RECORD).read_text(encoding="utf-8"))
        changes = known.get("changes", []) + _changes(known["recipe"], self.record["recipe"], known["step"])
        self.record = {**known, "recipe": self.record["recipe"], "changes": changes}
        for name in self.networks:
            state = torch.load(self.folder / f"{name}-{STATE}", map_location=self.device, weights_only=True)
            self.networks[name].load_state_dict(state["network"])
            self.averages[name].load_state_dict(state["average"])
            self.optimisers[name].load_state_dict(state["optimiser"])
            for group in self.optimisers[name].param_groups:
                group["lr"] = self.schedule.rate

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


@torch.no_grad()
def dead_units(network: SlabUNet, batch: Batch) -> float:
    """Fraction of the residual blocks' hidden units that are 0 everywhere in the batch. Too high a learning rate kills
    units permanently and so reduces the effective depth of the network.
    """
    alive: list[Tensor] = []
    hooks = [
        block.conv1.register_forward_hook(
            lambda _layer, _input, output: alive.append((output > 0).any(0).any(-1).any(-1))
        )
        for block in network.modules()
        if isinstance(block, ResidualBlock)
    ]
    try:
        network(batch.x, functional.interpolate(batch.p, scale_factor=float(LEVEL_STEP), mode="nearest"))
    finally:
        for hook in hooks:
            hook.remove()
    return 1 - float(torch.cat(alive).float().mean())


def _attention_loss(record: Mapping[Any, list[Tensor]], maps: Tensor) -> Tensor:
    """Cross-entropy of both stages' attention maps A with the organ maps, on the organ maps' cells."""
    total = maps.new_zeros(())
    for (found,) in record.values():
        pooled = functional.avg_pool2d(found.float(), found.shape[-1] // maps.shape[-1]).clamp(1e-4, 1 - 1e-4)
        total = total + functional.binary_cross_entropy(pooled, maps)
    return total / max(len(record), 1)


def _placed(network: SlabUNet, device: torch.device) -> SlabUNet:
    placed: SlabUNet = network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return placed


def _optimiser(network: SlabUNet, recipe: Recipe, schedule: Schedule, device: torch.device) -> torch.optim.Optimizer:
    on_card = device.type == "cuda"
    return torch.optim.AdamW(
        network.parameters(),
        schedule.rate,
        betas=(0.9, 0.99),
        weight_decay=recipe.weight_decay,
        fused=on_card,
        foreach=False,
        capturable=on_card,
    )


def _validation(pack: Pack, drawing: Drawing, device: torch.device) -> list[Batch]:
    """Fixed batches of validation slices at quarter dose, with all neighbours and their organ maps as prior."""
    from dataclasses import replace

    still = replace(
        drawing, doses=(0.25, 0.25), inserts=0.0, kernels=0.0, alone=0.0, one_sided=0.0, slabs=0.5, seed=991, phantoms=0
    )
    batches = Batches(pack, still, device, validation=True)
    count = 1 if device.type == "cpu" else VALIDATION_BATCHES
    drawn = []
    for number in range(count):
        batches.seed(number)
        drawn.append(batches.draw())
    return [one._replace(p=one.maps) for one in drawn]


def _changes(before: Mapping[str, Any], now: Mapping[str, Any], step: int) -> list[str]:
    """A sentence on the differences between two recipes, for the model card."""
    old, new = ({**one, **one["drawing"]} for one in (before, now))
    said = [
        f"{key} {old.get(key)} → {value}" for key, value in new.items() if key != "drawing" and old.get(key) != value
    ]
    return [f"after step {step:,}: {', '.join(said)}"] if said else []


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, tuple) else value
