"""Training a variable-rate codec: crops at random qualities, `codec.training.loss`, `codec.training.schedule`.

Linear paths and gains learn slowly (they start as a good transform), everything else fast. Two invariants: a step is a
function of (state, seed, step number), so a run that is killed and resumed gives the weights of an unbroken one; and a
step never waits for the device, which is asked only every `CHECK_EVERY` steps whether its gradients are finite.
"""

import io
import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from codec.architecture import lmbda_of, trained_for
from codec.errors import CheckpointError, ConfigError, first_line
from codec.files import write_atomically
from codec.model import Codec
from codec.training.dataset import CropSource, send
from codec.training.distributed import agree, peers
from codec.training.loss import Batch, Loss, Objective, uniform_noise
from codec.training.schedule import Phase, TrainConfig, phase_at, rate_factor

STATE_FILE = "state.pt"
CHECK_EVERY = 10  # steps between two looks at the device, and between two agreements of processes
BAD_STEPS_MAX = 20  # consecutive steps without a finite gradient before the run goes back to its last saved state
SETBACKS_MAX = 3  # such returns, each at half the rates, before training gives up


class Trainer:
    """The state of a run: weights, their average, the optimiser, and how far it is.

    Args:
        source: crops on the codec's device.
        folder: where the state is kept; a state found there is resumed.

    Raises:
        CheckpointError: that state cannot be resumed.
        ConfigError: several processes cannot share the batches evenly.
    """

    def __init__(self, codec: Codec, source: CropSource, config: TrainConfig, folder: Path) -> None:
        self.config, self.source, self.folder, self.peers = config, source, folder, peers()
        if any(batch % self.peers.world for batch in config.batches):
            raise ConfigError(f"batches of {config.batches}: make them multiples of {self.peers.world}, the processes")
        self.device = next(codec.parameters()).device
        self.codec = codec.train().to(memory_format=torch.channels_last)
        self.optimiser = torch.optim.AdamW(
            _parameter_groups(codec, config), betas=(0.9, 0.98), weight_decay=config.weight_decay, fused=True
        )
        codec.prior.quantiles.requires_grad_(False)  # CompressAI's, of no use here; DDP would wait for its gradient
        self.objective = self._objective()
        self.average = {k: v.detach().clone() for k, v in codec.state_dict().items()}
        self.step, self.elapsed, self.setbacks = 0, 0.0, 0
        self.parts = 1  # how many a batch is cut into to fit into memory
        self.bad_steps = torch.zeros((), dtype=torch.int32, device=self.device)  # consecutive, counted on the device
        if (folder / STATE_FILE).is_file():
            self.load(folder / STATE_FILE)

    @property
    def progress(self) -> float:
        """Fraction 0..1 of the schedule that is done."""
        budget = self.config.time_budget
        return min(1.0, self.elapsed / budget if budget else self.step / self.config.steps)

    @property
    def phase(self) -> Phase:
        """The phase that the next step belongs to."""
        return phase_at(self.config, self.progress)

    def run(self, report: Callable[["Trainer", Loss], None], pause: Callable[[], bool] = lambda: False) -> None:
        """Train until the schedule ends or `pause()` is true; good states are saved before, meanwhile and after."""
        if not (self.folder / STATE_FILE).is_file():
            self.save()
        last_save, unshared = time.monotonic(), 0.0
        _, stop = agree(0.0, pause(), self.device)
        while self.progress < 1 and not stop:
            begin = time.monotonic()
            loss = self.train_step()
            checked = self.step % CHECK_EVERY == 0
            if checked:
                self._check()
            unshared += time.monotonic() - begin
            report(self, loss)
            if checked or self.peers.world == 1:
                seconds, stop = agree(unshared, pause(), self.device)
                self.elapsed, unshared = self.elapsed + seconds, 0.0
            if time.monotonic() - last_save > self.config.save_every and not int(self.bad_steps):
                self.save()
                last_save = time.monotonic()
        if not int(self.bad_steps):  # else the state of before is the good one
            self.save()

    def train_step(self) -> Loss:
        """One update; a step whose gradient is not finite changes neither weights nor optimiser."""
        phase, batch = self.phase, self._batch()
        factor = rate_factor(self.config, self.step, self.progress) * 0.5**self.setbacks
        for group in self.optimiser.param_groups:
            group["lr"] = group["peak"] * factor
        loss = self._gradients(batch, phase)
        norm = torch.nn.utils.clip_grad_norm_(self.codec.parameters(), self.config.clip, foreach=True)
        bad = ~norm.isfinite()
        self.optimiser.found_inf = bad.float()  # type: ignore[attr-defined]  # as GradScaler does: the kernel skips
        self.optimiser.step()
        self.bad_steps = torch.where(bad, self.bad_steps + 1, 0)
        self._average()
        self.step += 1
        return loss

    def _batch(self) -> Batch:
        """This process's share of the step's crops, qualities and noise."""
        config, size, count = self.config, self.phase.crop or 0, self.phase.batch or 0
        share = self.peers.share()
        crops = self.source.crops(size, count, config.seed, self.step, share)
        x = crops.to(memory_format=torch.channels_last).float() / 255
        draw = np.random.default_rng((config.seed, self.step, 1)).uniform(*config.quality_range, count)[share]
        both = torch.tensor([(q, lmbda_of(q)) for q in draw], dtype=torch.float32)
        quality, lmbda = send(both, self.device).unbind(1)
        generator = torch.Generator(self.device).manual_seed(config.seed * 2**32 + self.step + self.peers.rank * 2**48)
        return Batch(x, quality, lmbda, *uniform_noise(self.codec, x, generator))

    def _gradients(self, batch: Batch, phase: Phase) -> Loss:
        """Leave the batch's gradients in the parameters; a batch that does not fit into memory is cut in halves."""
        while True:
            try:
                return self._accumulate(batch.split(self.parts), phase)
            except torch.OutOfMemoryError as error:
                if self.peers.world > 1 or self.parts >= len(batch.x):
                    raise ConfigError("out of memory: take a smaller --batch or --crop, and resume") from error
            self.parts *= 2  # outside the handler, whose traceback holds the tensors of the failed pass
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def _accumulate(self, parts: list[Batch], phase: Phase) -> Loss:
        self.optimiser.zero_grad(set_to_none=True)
        crops = sum(len(part.x) for part in parts)
        means = torch.zeros(len(Loss._fields), device=self.device)
        for part in parts:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
                loss: Loss = self.objective(part, phase.distortion, phase.rounding, phase.context)
            (loss.weighted * (len(part.x) / crops)).backward()
            means += torch.stack([value.detach() for value in loss]) * (len(part.x) / crops)
        return Loss(*means)

    def _objective(self) -> Callable[..., Loss]:
        objective: torch.nn.Module = Objective(self.codec)
        if self.peers.world > 1:
            warnings.filterwarnings("ignore", "Grad strides do not match")  # of a small parameter, at no cost
            warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated")  # older torch has nothing else
            warnings.filterwarnings("ignore", "find_unused_parameters=True was specified")  # there are, in a stage
            staged = not all(phase.context for phase in self.config.phases)  # else every step uses every parameter
            objective = DistributedDataParallel(objective, broadcast_buffers=False, find_unused_parameters=staged)
        return cast(Callable[..., Loss], torch.compile(objective) if self.config.compile else objective)

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        moving = [(self.average[name], p) for name, p in self.codec.named_parameters()]
        torch._foreach_lerp_([mean for mean, _ in moving], [p for _, p in moving], 1 - decay)

    def _check(self) -> None:
        """Go back to the last saved state after too many steps without a finite gradient.

        Raises:
            ConfigError: that did not help, at ever lower rates.
        """
        if int(self.bad_steps) < BAD_STEPS_MAX:
            return
        setbacks = self.setbacks + 1
        if setbacks > SETBACKS_MAX:
            raise ConfigError(f"no finite gradient after {SETBACKS_MAX} returns: lower the learning rates and resume")
        self.load(self.folder / STATE_FILE)
        self.setbacks = setbacks
        self.save()

    def averaged(self) -> Codec:
        """A copy of the codec with the averaged weights, in evaluation mode, named for what it is trained for now."""
        codec = Codec(trained_for(self.codec.config, self.phase.distortion)).to(self.device)
        codec.load_state_dict(self.average)
        return codec.eval().requires_grad_(False)

    def save(self) -> None:
        """Write the state, complete or not at all; the first of several processes does."""
        if self.peers.rank:
            return
        buffer = io.BytesIO()
        torch.save(
            {
                "step": self.step, "elapsed": self.elapsed, "setbacks": self.setbacks,
                "codec": self.codec.state_dict(), "average": self.average, "optimiser": self.optimiser.state_dict(),
            },
            buffer,
        )  # fmt: skip
        write_atomically(self.folder / STATE_FILE, buffer.getvalue())

    def load(self, path: Path) -> None:
        """Resume from a state.

        Raises:
            CheckpointError: the state is corrupt or belongs to another architecture.
        """
        try:
            with zipfile.ZipFile(path) as archive:  # torch.load itself checks no checksum
                if damaged := archive.testzip():
                    raise ValueError(f"checksum mismatch in {damaged}")
            state: dict[str, Any] = torch.load(path, map_location=self.device, weights_only=True)
            if unlike := _shapes(state["codec"]).items() ^ _shapes(self.codec.state_dict()).items():
                raise ValueError(f"its architecture is not that of {self.codec.config.name}: {min(unlike)[0]} differs")
            self.codec.load_state_dict(state["codec"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.average, self.step, self.elapsed = state["average"], state["step"], state["elapsed"]
            self.setbacks = state.get("setbacks", 0)
        except Exception as error:  # whatever a damaged file makes zipfile, pickle or torch raise
            raise CheckpointError(
                f"{path}: cannot be resumed: {first_line(error)}; move it away to start anew"
            ) from error
        self.bad_steps.zero_()
        for group, peak in zip(self.optimiser.param_groups, _peaks(self.config), strict=True):
            # those of this run, not of the saved one
            group.update(peak=peak, weight_decay=self.config.weight_decay, fused=True)


def _shapes(weights: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in weights.items()}


def _peaks(config: TrainConfig) -> tuple[float, float, float]:
    return config.lr, config.lr_transform, config.lr_linear


def _parameter_groups(codec: Codec, config: TrainConfig) -> list[dict[str, Any]]:
    """Entropy networks, nonlinear transforms, and what starts well and must move slowly."""
    entropy, nonlinear, slow = list[Tensor](), list[Tensor](), list[Tensor]()
    linear = codec.config.transform != "paper"
    for name, parameter in codec.named_parameters():
        if name.startswith("log_gain") or (linear and name.startswith(("g_a.l", "g_s.unlap", "g_s.linear"))):
            slow.append(parameter)
        elif name.startswith(("g_a", "g_s")):
            nonlinear.append(parameter)
        else:
            entropy.append(parameter)
    groups = zip((entropy, nonlinear, slow), _peaks(config), strict=True)
    return [{"params": params, "lr": peak, "peak": peak} for params, peak in groups]
