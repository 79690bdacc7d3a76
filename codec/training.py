"""Training a variable-rate codec: random crops, random quality, loss = lmbda^-0.5 * (bpp + lmbda * mse).

Rounding is noise for the rate of y and z, and straight-through for what `g_s`, `h_s` and the context model see. Linear
paths and gains learn slowly (they start as a good transform), everything else fast. The invariant: a step is a function
of (state, seed, step number), so a run that is killed and resumed gives the weights of an unbroken one.
"""

import io
import math
import time
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from codec.architecture import QUALITY_FIRST, QUALITY_LAST, lmbda_of
from codec.checkpoint import first_line
from codec.dataset import crop_stream
from codec.errors import CheckpointError, ConfigError
from codec.files import write_atomically
from codec.klt import KltAnalysis, KltSynthesis, initialise_klt
from codec.model import STRIDE, Codec, Latents, set_gains_from_deviation
from codec.pixels import Samples, crop, pad

STATE_FILE = "state.pt"
BAD_STEPS_MAX = 20  # consecutive steps without a finite gradient before training gives up


@dataclass(frozen=True)
class TrainConfig:
    """How to train. Rates are peaks of a schedule: linear warm-up, then cosine to 1 % at the end.

    Attributes:
        steps: length of the schedule, unless `time_budget` (seconds) is given, which then sets its length.
        crop, batch: side of a crop in pixels (a multiple of 64) and crops a step.
        lr, lr_transform, lr_linear: AdamW's rates for entropy networks; nonlinear transforms; linear paths and gains.
        clip: largest gradient norm.
        ema: decay of the averaged weights that are validated and published.
        quality_range: qualities are drawn uniformly from it.
        validate_every, save_every: seconds.
    """

    steps: int = 20_000
    time_budget: float | None = None
    crop: int = 128
    batch: int = 4
    lr: float = 2e-3
    lr_transform: float = 1e-3
    lr_linear: float = 1e-4
    warmup: int = 200
    clip: float = 1.0
    weight_decay: float = 0.0
    ema: float = 0.999
    quality_range: tuple[float, float] = (QUALITY_FIRST, QUALITY_LAST)
    seed: int = 0
    validate_every: float = 900.0
    save_every: float = 120.0
    precision: Literal["fp32", "bf16"] = "fp32"
    compile: bool = False

    def __post_init__(self) -> None:
        if self.crop % STRIDE or self.crop < STRIDE:
            raise ValueError(f"crop {self.crop} is no multiple of {STRIDE}")
        if min(self.steps, self.batch) < 1 or min(self.lr, self.lr_transform, self.lr_linear) <= 0:
            raise ValueError("steps, batch and learning rates must be positive")


class Loss(NamedTuple):
    """Means over a batch: what is minimised, and its parts."""

    weighted: Tensor
    bpp: Tensor
    mse: Tensor


class Validation(NamedTuple):
    """Means over images at one quality, on rounded latents and 8-bit pixels; rates are estimates."""

    quality: float
    bpp_est: float
    psnr_db: float
    cost_est: float


def training_loss(codec: Codec, x: Tensor, quality: Tensor, lmbda: Tensor, noise: torch.Generator) -> Loss:
    """Weighted rate-distortion loss of crops x (B, 3, H, W) in [0, 1] at `quality` (B,)."""
    y, z = codec.analyse(x, quality)
    y, z = y.float(), z.float()
    y_hat, z_hat = straight_through(y), straight_through(z)
    y_bits, z_bits = codec.rate(y + _uniform(y, noise), y_hat, z + _uniform(z, noise), z_hat, quality)
    x_hat = codec.synthesise(y_hat, quality).float()
    bpp = (y_bits + z_bits) / (x.shape[2] * x.shape[3])
    mse = 255**2 * (x_hat - x).square().mean((1, 2, 3))
    weighted = (lmbda**-0.5 * (bpp + lmbda * mse)).mean()
    return Loss(weighted, bpp.mean(), mse.mean())


def straight_through(x: Tensor) -> Tensor:
    """round(x), with the gradient of the identity."""
    return x + (x.round() - x).detach()


def _uniform(x: Tensor, noise: torch.Generator) -> Tensor:
    return torch.rand(x.shape, generator=noise, device=x.device) - 0.5


class Trainer:
    """The state of a run: weights, their average, the optimiser, and how far it is.

    Args:
        photos: uint8 (H, W, 3), sides at least `config.crop`.
        folder: where the state is kept; a state found there is resumed.
    """

    def __init__(self, codec: Codec, photos: list[Samples], config: TrainConfig, folder: Path) -> None:
        self.config, self.photos, self.folder = config, photos, folder
        self.device = next(codec.parameters()).device
        self.codec = codec.train().to(memory_format=torch.channels_last)
        self.average = {k: v.detach().clone() for k, v in codec.state_dict().items()}
        self.optimiser = torch.optim.AdamW(
            _parameter_groups(codec, config),
            betas=(0.9, 0.98),
            weight_decay=config.weight_decay,
            fused=self.device.type == "cuda",
        )
        self.step, self.elapsed, self.bad_steps = 0, 0.0, 0
        self.loss = torch.compile(training_loss) if config.compile else training_loss
        if (folder / STATE_FILE).is_file():
            self.load(folder / STATE_FILE)

    @property
    def progress(self) -> float:
        """Fraction 0..1 of the schedule that is done."""
        budget = self.config.time_budget
        return min(1.0, self.elapsed / budget if budget else self.step / self.config.steps)

    def run(self, report: Callable[["Trainer", Loss], None], pause: Callable[[], bool] = lambda: False) -> None:
        """Train until the schedule ends or `pause()` is true; the state is saved on the way and at the end."""
        last_save = time.monotonic()
        batches = crop_stream(self.photos, self.config.crop, self.config.batch, self.config.seed, self.step)
        while self.progress < 1 and not pause():
            begin = time.monotonic()
            loss = self.train_step(next(batches))
            self.elapsed += time.monotonic() - begin
            report(self, loss)
            if time.monotonic() - last_save > self.config.save_every:
                self.save()
                last_save = time.monotonic()
        self.save()

    def train_step(self, crops: Tensor) -> Loss:
        """One update from uint8 crops (B, 3, H, W); a step whose gradient is not finite changes nothing."""
        generator = torch.Generator(self.device).manual_seed(self.config.seed * 2**32 + self.step)
        x = crops.to(self.device, non_blocking=True).to(memory_format=torch.channels_last).float() / 255
        draw = np.random.default_rng((self.config.seed, self.step, 1)).uniform(*self.config.quality_range, len(crops))
        quality = torch.tensor(draw, dtype=torch.float32, device=self.device)
        lmbda = torch.tensor([lmbda_of(q) for q in draw], dtype=torch.float32, device=self.device)
        factor = self._rate_factor()
        for group in self.optimiser.param_groups:
            group["lr"] = group["peak"] * factor
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            loss = self.loss(self.codec, x, quality, lmbda, generator)
        self.optimiser.zero_grad(set_to_none=True)
        loss.weighted.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.codec.parameters(), self.config.clip)
        if torch.isfinite(norm):
            self.optimiser.step()
            self._average()
            self.bad_steps = 0
        else:
            self.bad_steps += 1
            if self.bad_steps > BAD_STEPS_MAX:
                raise ConfigError(f"no finite gradient in {BAD_STEPS_MAX} steps: lower the learning rates and resume")
        self.step += 1
        return Loss(*(value.detach() for value in loss))

    def _rate_factor(self) -> float:
        """Warm-up times cosine, 0..1, ending at 0.01."""
        cosine = 0.01 + 0.99 * (1 + math.cos(math.pi * self.progress)) / 2
        return min(1.0, (self.step + 1) / self.config.warmup) * cosine if self.config.warmup else cosine

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        for name, value in self.codec.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - decay)
            else:
                self.average[name].copy_(value)

    def averaged(self) -> Codec:
        """A copy of the codec with the averaged weights, in evaluation mode."""
        codec = Codec(self.codec.config).to(self.device)
        codec.load_state_dict(self.average)
        return codec.eval().requires_grad_(False)

    def save(self) -> None:
        """Write the state, atomically."""
        buffer = io.BytesIO()
        torch.save(
            {
                "config": asdict(self.config), "step": self.step, "elapsed": self.elapsed,
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
            self.codec.load_state_dict(state["codec"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.average, self.step, self.elapsed = state["average"], state["step"], state["elapsed"]
        except Exception as error:  # whatever a damaged file makes zipfile, pickle or torch raise
            raise CheckpointError(
                f"{path}: cannot be resumed: {first_line(error)}; move it away to start anew"
            ) from error
        for group, peak in zip(self.optimiser.param_groups, _peaks(self.config), strict=True):
            group["peak"] = peak  # the flags of this run, not of the saved one


def _peaks(config: TrainConfig) -> tuple[float, float, float]:
    return config.lr, config.lr_transform, config.lr_linear


def _parameter_groups(codec: Codec, config: TrainConfig) -> list[dict[str, Any]]:
    """Entropy networks, nonlinear transforms, and what starts well and must move slowly."""
    entropy, nonlinear, slow = [], [], []
    klt = codec.config.transform == "klt"
    for name, parameter in codec.named_parameters():
        if name.startswith("log_gain") or (klt and name.startswith(("g_a.l", "g_s.unlap", "g_s.linear"))):
            slow.append(parameter)
        elif name.startswith(("g_a", "g_s")):
            nonlinear.append(parameter)
        else:
            entropy.append(parameter)
    groups = zip((entropy, nonlinear, slow), _peaks(config), strict=True)
    return [{"params": params, "lr": peak, "peak": peak} for params, peak in groups]


def initialise(codec: Codec, photos: list[Samples]) -> None:
    """Before the first step: KLT of the training photos, and gains that suit its deviations."""
    if isinstance(codec.g_a, KltAnalysis) and isinstance(codec.g_s, KltSynthesis):
        initialise_klt(codec.g_a, codec.g_s, photos)
        set_gains_from_deviation(codec, codec.g_a.deviation)


@torch.no_grad()
def validate(codec: Codec, photos: Iterable[Samples], qualities: Iterable[float]) -> list[Validation]:
    """Rate (estimated), PSNR and cost of whole photos (H, W, 3) uint8, at each quality."""
    device = next(codec.parameters()).device
    rows = []
    images = [torch.from_numpy(np.ascontiguousarray(p)).permute(2, 0, 1)[None] for p in photos]
    for level in qualities:
        quality = torch.tensor([level], device=device)
        bpps, mses = [], []
        for image in images:
            x = image.to(device).float() / 255
            latents = codec.analyse(pad(x, STRIDE), quality)
            rounded = Latents(latents.y.round(), latents.z.round())
            out = codec.evaluate(rounded, quality)
            x_hat = crop(out.x_hat, *x.shape[2:]).clamp(0, 1).mul(255).round()
            bpps.append(float(out.y_bits + out.z_bits) / (x.shape[2] * x.shape[3]))
            mses.append(float(F.mse_loss(x_hat, x * 255)))
        bpp, mse = float(np.mean(bpps)), float(np.mean(mses))
        psnr = float(np.mean([10 * math.log10(255**2 / max(m, 1e-12)) for m in mses]))
        rows.append(Validation(level, bpp, psnr, bpp + lmbda_of(level) * mse))
    return rows
