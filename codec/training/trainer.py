"""Trainer of a variable-rate codec: AdamW on crops at random qualities, averaged weights, states to resume from.

Two invariants: a step is a function of (state, seed, step number), so a run that is killed and resumed gives the
weights of an unbroken one; and a step never waits for the device, whose count of non-finite gradients is read only
every `CHECK_EVERY` steps.
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
from codec.training.dataset import CropSource, to_device
from codec.training.distributed import agree_on_pause, this_process
from codec.training.loss import Batch, Loss, LossModule, uniform_noise
from codec.training.optimiser import configure, make_optimiser, scale_rates
from codec.training.schedule import Phase, TrainConfig, lr_factor, phase_at

STATE_FILE = "state.pt"
CHECK_EVERY = 10  # steps between reads from the device, and between agreements of processes
BAD_STEPS_MAX = 20  # consecutive steps without a finite gradient before the run rolls back to its last saved state
ROLLBACKS_MAX = 3  # each halves the learning rates; then training fails


class Trainer:
    """State of a run, weights, their moving average, optimiser and progress, and the steps that advance it.

    Args:
        source: source of crops on the codec's device.
        folder: folder of the saved state; one found there is resumed.

    Raises:
        CheckpointError: the saved state cannot be resumed.
        ConfigError: a batch is no multiple of the number of processes.
    """

    def __init__(self, codec: Codec, source: CropSource, config: TrainConfig, folder: Path) -> None:
        self.config, self.source, self.folder, self.process = config, source, folder, this_process()
        if any(batch % self.process.world_size for batch in config.batches):
            count = self.process.world_size
            raise ConfigError(f"batches of {config.batches}: make them multiples of {count}, the processes")
        self.device = next(codec.parameters()).device
        self.codec = codec.train().to(memory_format=torch.channels_last)
        self.optimiser = make_optimiser(codec, config)
        codec.prior.quantiles.requires_grad_(False)  # no part of the loss; DDP would wait for its gradient
        self.objective = self._objective()
        self.average = {k: v.detach().clone() for k, v in codec.state_dict().items()}
        self.parameters = dict(codec.named_parameters())  # listed once: a walk over all modules takes 0.3 ms
        self.step, self.elapsed_s, self.rollbacks = 0, 0.0, 0
        self.micro_batches = 1  # number that a batch is split into to fit into memory
        self.bad_steps = torch.zeros((), dtype=torch.int32, device=self.device)  # consecutive, counted on the device
        if (folder / STATE_FILE).is_file():
            self.load(folder / STATE_FILE)

    @property
    def progress(self) -> float:
        """Fraction of the schedule that is done, 0..1."""
        budget = self.config.time_budget
        return min(1.0, self.elapsed_s / budget if budget else self.step / self.config.steps)

    @property
    def phase(self) -> Phase:
        """Phase of the next step."""
        return phase_at(self.config, self.progress)

    def run(self, report: Callable[["Trainer", Loss], None], pause: Callable[[], bool] = lambda: False) -> None:
        """Train until the schedule ends or `pause()` is true; saves the state first, at intervals, and last.

        Args:
            report: called after each step.
            pause: called after each step; with several processes, every `CHECK_EVERY` steps.
        """
        if not (self.folder / STATE_FILE).is_file():
            self.save()
        last_save_s, unshared_s = time.monotonic(), 0.0
        _, stop = agree_on_pause(0.0, pause(), self.device)
        while self.progress < 1 and not stop:
            begin_s = time.monotonic()
            loss = self.train_step()
            checked = self.step % CHECK_EVERY == 0
            if checked:
                self._roll_back_if_diverged()
            unshared_s += time.monotonic() - begin_s
            report(self, loss)
            if checked or self.process.world_size == 1:
                shared_s, stop = agree_on_pause(unshared_s, pause(), self.device)
                self.elapsed_s, unshared_s = self.elapsed_s + shared_s, 0.0
            if time.monotonic() - last_save_s > self.config.save_every and not int(self.bad_steps):
                self.save()
                last_save_s = time.monotonic()
        if not int(self.bad_steps):  # else the saved state is the last good one
            self.save()

    def train_step(self) -> Loss:
        """Update the weights once, unless the gradient is not finite; then weights and optimiser stay as they are."""
        phase, batch = self.phase, self._batch()
        factor = lr_factor(self.config, self.step, self.progress) * 0.5**self.rollbacks
        scale_rates(self.optimiser, factor)
        loss = self._gradients(batch, phase)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.config.clip, foreach=True)
        bad = ~norm.isfinite()
        self.optimiser.found_inf = bad.float()  # type: ignore[attr-defined]  # as GradScaler does: the kernel skips
        self.optimiser.step()
        self.bad_steps = torch.where(bad, self.bad_steps + 1, 0)
        self._update_average()
        self.step += 1
        return loss

    def _batch(self) -> Batch:
        """Draw this process's share of the step's crops, qualities and noise."""
        config, size, count = self.config, self.phase.crop or 0, self.phase.batch or 0
        share = self.process.batch_rows()
        crops = self.source.crops(size, count, seed=config.seed, step=self.step, share=share)
        x = crops.to(memory_format=torch.channels_last).float() / 255
        draw = np.random.default_rng((config.seed, self.step, 1)).uniform(*config.quality_range, count)[share]
        both = torch.tensor([(q, lmbda_of(q)) for q in draw], dtype=torch.float32)
        quality, lmbda = to_device(both, self.device).unbind(1)
        seed = self.process.rank * 2**48 + config.seed * 2**32 + self.step
        generator = torch.Generator(self.device).manual_seed(seed)
        return Batch(x, quality, lmbda, *uniform_noise(self.codec, x, generator))

    def _gradients(self, batch: Batch, phase: Phase) -> Loss:
        """Set the parameters' gradients to those of a batch, in more micro-batches if memory does not suffice."""
        while True:
            try:
                return self._accumulate(batch.split(self.micro_batches), phase)
            except torch.OutOfMemoryError as error:
                if self.process.world_size > 1 or self.micro_batches >= len(batch.x):
                    raise ConfigError("out of memory: take a smaller --batch or --crop, and resume") from error
            self.micro_batches *= 2  # outside the handler, whose traceback holds the tensors of the failed pass
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def _accumulate(self, micro_batches: list[Batch], phase: Phase) -> Loss:
        """Accumulate the gradients of the mean loss over all crops; returns the means."""
        self.optimiser.zero_grad(set_to_none=True)
        crops = sum(len(part.x) for part in micro_batches)
        means = torch.zeros(len(Loss._fields), device=self.device)
        for part in micro_batches:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
                loss: Loss = self.objective(part, phase, self.config.cost_max)
            (loss.weighted * (len(part.x) / crops)).backward()
            means += torch.stack([value.detach() for value in loss]) * (len(part.x) / crops)
        return Loss(*means)

    def _objective(self) -> Callable[..., Loss]:
        """Return the loss, for several processes within DDP, compiled if the configuration says so."""
        objective: torch.nn.Module = LossModule(self.codec)
        if self.process.world_size > 1:
            warnings.filterwarnings("ignore", "Grad strides do not match")  # of a small parameter, at no cost
            warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated")  # older torch has nothing else
            warnings.filterwarnings("ignore", "find_unused_parameters=True was specified")  # there are, in a stage
            staged = not all(phase.context for phase in self.config.phases)  # else every step uses every parameter
            objective = DistributedDataParallel(objective, broadcast_buffers=False, find_unused_parameters=staged)
        return cast(Callable[..., Loss], torch.compile(objective) if self.config.compile else objective)

    @torch.no_grad()
    def _update_average(self) -> None:
        """Move the averaged weights towards the current ones, faster during the first steps."""
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        means = [self.average[name] for name in self.parameters]
        torch._foreach_lerp_(means, list(self.parameters.values()), 1 - decay)

    def _roll_back_if_diverged(self) -> None:
        """Resume from the last saved state, at half the learning rates, if too many gradients in a row were not finite.

        Raises:
            ConfigError: `ROLLBACKS_MAX` rollbacks were not enough.
        """
        if int(self.bad_steps) < BAD_STEPS_MAX:
            return
        rollbacks = self.rollbacks + 1
        if rollbacks > ROLLBACKS_MAX:
            raise ConfigError(f"no finite gradient after {ROLLBACKS_MAX} returns: lower the learning rates and resume")
        self.load(self.folder / STATE_FILE)
        self.rollbacks = rollbacks
        self.save()

    def averaged_codec(self) -> Codec:
        """Return a frozen copy of the codec with averaged weights, named for the distortion of the current phase."""
        own = trained_for(self.codec.config, self.phase.distortion, for_eyes=self.phase.visual_share > 0)
        codec = Codec(own).to(self.device)
        codec.load_state_dict(self.average)
        return codec.eval().requires_grad_(False)

    def save(self) -> None:
        """Write the state atomically; does nothing in processes other than rank 0."""
        if self.process.rank:
            return
        buffer = io.BytesIO()
        torch.save(
            {
                "step": self.step, "elapsed": self.elapsed_s, "setbacks": self.rollbacks,
                "codec": self.codec.state_dict(), "average": self.average, "optimiser": self.optimiser.state_dict(),
            },
            buffer,
        )  # fmt: skip
        write_atomically(self.folder / STATE_FILE, buffer.getvalue())

    def load(self, path: Path) -> None:
        """Load a saved state; learning rates and weight decay stay those of this run's configuration.

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
            self.average, self.step, self.elapsed_s = state["average"], state["step"], state["elapsed"]
            self.rollbacks = state.get("setbacks", 0)
        except Exception as error:  # whatever a damaged file makes zipfile, pickle or torch raise
            raise CheckpointError(
                f"{path}: cannot be resumed: {first_line(error)}; move it away to start anew"
            ) from error
        self.bad_steps.zero_()
        configure(self.optimiser, self.config)


def _shapes(weights: dict[str, Tensor]) -> dict[str, torch.Size]:
    """Return the shape of each tensor."""
    return {name: tensor.shape for name, tensor in weights.items()}
