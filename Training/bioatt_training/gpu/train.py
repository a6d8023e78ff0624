"""Train arms of Table 1 one after another on a GPU within a time limit; an interrupted training resumes on the next
call.

The learning rate follows the larger of two fractions: of the arm's steps and of its time. Uses bf16 autocast if
available, channels-last weights and fused Adam; averaged weights are validated and exported.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from bioatt.compute.device import cpu_has_bf16
from bioatt.core.errors import InputError
from bioatt.core.hu import OFFSET_HU, SCALE_HU
from bioatt.network import BioAttNetwork
from bioatt_training.fit.arms import ARMS, ArmName, arm_network
from bioatt_training.fit.config import Config, NetworkConfig
from bioatt_training.fit.objectives import LOSSES, interior, paper_metrics
from bioatt_training.fit.schedule import build_optimiser
from bioatt_training.gpu.batches import Batches, seed_of
from bioatt_training.gpu.outputs import Outputs, Tensors
from bioatt_training.gpu.pack import Pack

WARM_UP_STEPS = 300
SYNC_STEPS = 20
"""Steps between synchronisations of host and device, so that the clock reflects completed work."""
VALIDATION_BATCH = 64
MEASURED_STEPS = 20
SHORTEST_ARM_S = 30.0
"""Minimum training time; with less, a further arm is left for the next call."""

Say = Callable[[str], None]


class Clock:
    """Seconds since the start, and until the limit."""

    def __init__(self, limit_s: float) -> None:
        self.start, self.limit_s = time.monotonic(), limit_s

    @property
    def left(self) -> float:
        """Seconds until the limit."""
        return self.limit_s - (time.monotonic() - self.start)


@dataclass
class Stop:
    """Set by a signal: save the arm and end the training."""

    asked: bool = False


def check_config(config: Config) -> None:
    """Raise InputError for a configuration that GPU training does not support."""
    optimiser, data = config.optimiser, config.data
    for what, given, known in (
        ("[data] sampling", data.sampling, "random"),
        ("[data] prior_perturbation", data.prior_perturbation, 0.0),
        ("[optimiser] schedule", optimiser.schedule, "cosine"),
        ("[run] initial", config.run.initial, None),
    ):
        if given != known:
            raise InputError(f"{what} is {given!r}: GPU training supports only {known!r}")
    if not optimiser.steps:
        raise InputError("[optimiser] steps must be given: an arm ends after that many, or when its time is over")


def train(
    config: Config,
    pack: Pack,
    outputs: Outputs,
    *,
    arms: Sequence[ArmName],
    device: torch.device,
    limit_s: float,
    save_every_s: float = 60.0,
    stop: Stop | None = None,
    say: Say = print,
) -> None:
    """Train `arms` in order within limit_s seconds, resuming from `outputs`.

    The first unfinished arm may use all the remaining time, further ones an equal share of what is left. Raises
    InputError if the outputs belong to another configuration or pack.
    """
    check_config(config)
    stop, clock = stop or Stop(), Clock(limit_s)
    _begin(config, pack, outputs, device)
    for position, name in enumerate(arms):
        if outputs.record["arms"].get(name, {}).get("finished"):
            continue
        first = not any(outputs.record["arms"].get(arm, {}).get("finished") for arm in arms)
        seconds = clock.left if first else clock.left / (len(arms) - position)
        if stop.asked or (seconds < SHORTEST_ARM_S and not first) or seconds <= 0:
            break
        try:
            ArmRun(_of_arm(config, name), pack, outputs, device).train(seconds, save_every_s, stop, say)
        except InputError as error:  # of one arm only: continue with the others
            outputs.record["arms"][name]["failed"] = str(error)
            outputs.save_record()
            say(f"{name}: {error}")


def _begin(config: Config, pack: Pack, outputs: Outputs, device: torch.device) -> None:
    said = asdict(config)
    about = {**pack.header, "slices": [asdict(one) for one in pack.slices]}
    if not outputs.record:
        outputs.record.update(config=said, pack=about, arms={})
    # through JSON, whose lists are tuples here
    elif outputs.record["config"] != _plain(said) or outputs.record["pack"]["bank"] != pack.header["bank"]:
        raise InputError(f"{outputs.folder.name} holds a training of another configuration or pack: use another folder")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    outputs.record["device"] = name
    outputs.save_record()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, tuple) else value


def _of_arm(config: Config, name: ArmName) -> Config:
    """The arm's configuration: a batch of `whole` has as many pixels as one slice."""
    if not ARMS[name].whole:
        return config.of_arm(name)
    return replace(
        config, network=replace(config.network, arm=name), data=replace(config.data, sampling="whole", batch=1)
    )


class ArmRun:
    """One arm's network, averages and optimiser on the device, new or restored from the outputs."""

    def __init__(self, config: Config, pack: Pack, outputs: Outputs, device: torch.device) -> None:
        self.config, self.pack, self.outputs, self.device = config, pack, outputs, device
        self.name: ArmName = config.network.arm
        torch.manual_seed(config.run.seed)
        self.network = placed(config.network, len(pack.descriptors), device)
        self.averages = copy.deepcopy(self.network).requires_grad_(False)
        self.optimiser = build_optimiser(
            config.optimiser, self.network.parameters(), fused=True if device.type == "cuda" else None
        )
        self.batches = Batches(pack, config.data, config.run.seed, device)
        self.loss = LOSSES[config.optimiser.loss]
        self.arithmetic = _arithmetic(config, device)
        known = outputs.record["arms"].setdefault(
            self.name, {"steps": 0, "seconds": 0.0, "progress": 0.0, "history": []}
        )
        self.progress_record: dict[str, Any] = known
        self.step, self.start_progress, self.warm_from = known["steps"], known["progress"], known["steps"]
        self._go_on()

    def _go_on(self) -> None:
        state = self.outputs.record.get("state", {})
        if state.get("arm") != self.name:
            return
        loaded = self.outputs.load_state()
        assert loaded is not None
        weights, moments = loaded
        for prefix, network in (("network.", self.network), ("averages.", self.averages)):
            network.load_state_dict(
                {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
            )
        if moments:
            self.warm_from = state["warm_from"]
            groups = self.optimiser.state_dict()["param_groups"]
            kinds = ("step", "exp_avg", "exp_avg_sq")
            count = len(list(self.network.parameters()))
            by_parameter = {k: {kind: moments[f"{k}.{kind}"] for kind in kinds} for k in range(count)}
            self.optimiser.load_state_dict({"state": by_parameter, "param_groups": groups})

    def train(self, seconds: float, save_every_s: float, stop: Stop, say: Say) -> None:
        """Train until the steps are done or the time is over, saving periodically."""
        start = saved = time.monotonic()
        seconds_before, steps_before = self.progress_record["seconds"], self.step
        self._prepare(say)
        lost = torch.zeros((), device=self.device)
        since = self.step
        while True:
            elapsed = time.monotonic() - start
            progress = self._progress(steps_before, elapsed, seconds)
            if progress >= 1 or stop.asked:
                break
            lost += self._one_step(progress)
            if self.step % SYNC_STEPS == 0:
                self._wait()
            if time.monotonic() - saved > save_every_s:
                self._wait()
                elapsed = time.monotonic() - start
                progress = self._progress(steps_before, elapsed, seconds)
                self._save(progress, seconds_before + elapsed, lost / (self.step - since), say)
                lost, since, saved = torch.zeros_like(lost), self.step, time.monotonic()
        self._wait()
        self._save(progress, seconds_before + elapsed, lost / max(self.step - since, 1), say)
        if progress >= 1:
            self.progress_record["finished"] = True
            self.outputs.drop_state()

    def _progress(self, steps_before: int, elapsed: float, seconds: float) -> float:
        """Progress of the arm, 0 to 1, by steps or by time since it resumed, whichever is larger."""
        by_steps = (self.step - steps_before) / max(self.config.optimiser.steps - steps_before, 1)
        share = max(by_steps, elapsed / seconds)
        return self.start_progress + (1 - self.start_progress) * min(share, 1)

    def _one_step(self, progress: float) -> Tensor:
        """Train on the next batch; its loss, on the device."""
        for group in self.optimiser.param_groups:
            group["lr"] = self._learning_rate(progress)
        if self.network.weighting == "random":
            torch.manual_seed(seed_of(self.config.run.seed, self.step))
        loss = self._loss(*self.batches.draw(self.step))
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if self.config.optimiser.gradient_clip:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.config.optimiser.gradient_clip)
        self.optimiser.step()
        decay = min(self.config.run.ema_decay, self.step / (self.step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.averages.parameters()), list(self.network.parameters()), 1 - decay)
        self.step += 1
        return loss.detach()

    def _loss(self, low: Tensor, target: Tensor, p: Tensor) -> Tensor:
        with self.arithmetic():
            output = self.network(low, p)
        margin = self.config.optimiser.margin
        return self.loss(*(interior(image, margin) for image in (output.float(), target, low)))

    def _learning_rate(self, progress: float) -> float:
        optimiser = self.config.optimiser
        warm = min((self.step - self.warm_from + 1) / WARM_UP_STEPS, 1)
        least = optimiser.minimum_learning_rate
        course = least + (optimiser.learning_rate - least) * (1 + math.cos(math.pi * progress)) / 2
        return warm * course

    def _prepare(self, say: Say) -> None:
        """Measure the cost of drawing a batch relative to a step."""
        batch = self.batches.draw(0)

        def step() -> None:
            self._loss(*batch).backward()
            self.optimiser.zero_grad(set_to_none=True)

        step_s = self._seconds(step)
        draw_s = self._seconds(lambda: self.batches.draw(0))
        size = self.config.data.batch
        self.progress_record["cost"] = {"step_ms": 1000 * step_s, "draw_ms": 1000 * draw_s, "batch": size}
        say(
            f"| {self.name} | {size} patches of {self.batches.size}² px: {1000 * step_s:.2f} ms a step, "
            f"drawing them {1000 * draw_s:.2f} ms more | {size / (step_s + draw_s):.0f} patches/s |"
        )

    def _seconds(self, work: Callable[[], object]) -> float:
        """Mean of a few runs after two warm-ups; a single run on the CPU, which is not asynchronous."""
        count = MEASURED_STEPS if self.device.type == "cuda" else 1
        for _ in range(2):
            work()
        self._wait()
        start = time.monotonic()
        for _ in range(count):
            work()
        self._wait()
        return (time.monotonic() - start) / count

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def _save(self, progress: float, seconds: float, train_loss: Tensor, say: Say) -> None:
        """Validate the averages and save everything. Raises InputError, keeping the previous state, if they are not
        finite.
        """
        figures = self.validate()
        if not math.isfinite(figures["val_rmse_hu"]):
            raise InputError(f"the arm {self.name} diverged after {self.step} steps: lower the learning rate")
        patches = self.step * self.config.data.batch
        row = {"step": self.step, "patches": patches, "seconds": seconds, "train_loss": float(train_loss), **figures}
        self.progress_record.update(steps=self.step, patches=patches, seconds=seconds, progress=progress)
        self.progress_record["history"].append(row)
        self.outputs.save_arm(self.name, self.averages.state_dict())
        self.outputs.save_state(self.name, self._weights(), self._moments(), {"warm_from": self.warm_from})
        say(
            f"| {self.name} | step {self.step}, {patches} patches, {seconds:.0f} s | "
            f"validation {figures['val_rmse_hu']:.2f} HU (low dose {figures['val_input_rmse_hu']:.2f}), "
            f"PSNR {figures['val_psnr']:.2f} dB, SSIM {figures['val_ssim']:.4f} |"
        )

    def _weights(self) -> Tensors:
        networks = (("network.", self.network), ("averages.", self.averages))
        return {prefix + key: value for prefix, one in networks for key, value in one.state_dict().items()}

    def _moments(self) -> Tensors:
        states = self.optimiser.state_dict()["state"]
        return {f"{number}.{kind}": value for number, state in states.items() for kind, value in state.items()}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Errors of the averaged weights on the pack's patches of held-out patients; see `objectives.paper_metrics`."""
        low, target, p = (torch.from_numpy(array) for array in self.pack.validation)
        side = low.shape[-1] - low.shape[-1] % self.config.network.block
        low, target = (
            ((image[:, None, :side, :side].float() - OFFSET_HU) / SCALE_HU).to(self.device) for image in (low, target)
        )
        torch.manual_seed(0)
        with self.arithmetic():
            parts = [
                self.averages(x, q).float()
                for x, q in zip(low.split(VALIDATION_BATCH), p.to(self.device).split(VALIDATION_BATCH), strict=True)
            ]
        output = torch.cat(parts)
        errors = {"val_rmse_hu": output - target, "val_input_rmse_hu": low - target}
        found = {name: float(SCALE_HU * torch.sqrt(torch.mean(error**2))) for name, error in errors.items()}
        return found | {f"val_{name}": float(value) for name, value in paper_metrics(output, target).items()}


def placed(config: NetworkConfig, descriptors: int, device: torch.device) -> BioAttNetwork:
    """An arm's network with fresh weights on a device, channels last."""
    network = arm_network(config, descriptors).to(device)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _arithmetic(config: Config, device: torch.device) -> Callable[[], Any]:
    """Context of the forward pass: bf16 if the hardware supports it and the configuration allows it."""
    native = device.type == "cuda" or (device.type == "cpu" and cpu_has_bf16())
    if config.run.precision == "32-true" or not native:
        return nullcontext
    return lambda: torch.autocast(device.type, dtype=torch.bfloat16)
