"""CompressAI's models behind the protocol of `codec.interface`: `load("mbt2018-mean:3:weights.pth.tar")`.

    z_hat = round(z - medians) + medians
    y_hat = round(y - means) + means        of the scale hyperprior, round(y)

The factorised prior has no z; its y is coded as others code z. Each model has a rate of its own, so a quality of its
own, CompressAI's. Rates are priced by its own likelihoods on its own grid, and files hold what its own `compress` makes
of the refined latents.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from compressai.entropy_models import EntropyBottleneck, GaussianConditional
from compressai.models import (
    Cheng2020Anchor,
    Cheng2020AnchorCheckerboard,
    Cheng2020Attention,
    CompressionModel,
    Elic2022Chandelier,
    Elic2022Official,
    FactorizedPrior,
    FactorizedPriorReLU,
    JointAutoregressiveHierarchicalPriors,
    MeanScaleHyperprior,
    ScaleHyperprior,
)
from numpy.typing import NDArray
from torch import Tensor, nn

from codec import zoo_stream
from codec.checkpoint import FOREIGN, first_line
from codec.errors import CheckpointError, ConfigError
from codec.interface import Latents
from codec.zoo_entropy import Gaussian, entropy, has_means, home_of_hyper

MODELS: dict[str, type[CompressionModel]] = {
    "bmshj2018-factorized": FactorizedPrior,
    "bmshj2018-factorized-relu": FactorizedPriorReLU,
    "bmshj2018-hyperprior": ScaleHyperprior,
    "mbt2018-mean": MeanScaleHyperprior,
    "mbt2018": JointAutoregressiveHierarchicalPriors,
    "cheng2020-anchor": Cheng2020Anchor,
    "cheng2020-attn": Cheng2020Attention,
    "cheng2020-anchor-checkerboard": Cheng2020AnchorCheckerboard,
    "elic2022-official": Elic2022Official,
    "elic2022-chandelier": Elic2022Chandelier,
}
LMBDAS = (0.0018, 0.0035, 0.0067, 0.0130, 0.0250, 0.0483, 0.0932, 0.1800)  # of qualities 1..8, CompressAI's, for mse
STRIDE = 64


@dataclass(frozen=True)
class ZooConfig:
    """Which model this is; with the weights it makes the model's id."""

    architecture: str
    quality: int

    @property
    def name(self) -> str:
        """As it is asked for, but for the file of its weights."""
        return f"{FOREIGN}{self.architecture}:{self.quality}"


class ZooCodec(nn.Module):
    """One of CompressAI's models, frozen, with its coding tables made; `quality` is (B,), all the same."""

    stride = STRIDE

    def __init__(self, model: CompressionModel, config: ZooConfig) -> None:
        super().__init__()
        self.model, self.config = model, config
        model.update()  # makes tables that the checkpoint lacks
        self.eval().requires_grad_(False)

    @property
    def default_quality(self) -> float:
        """The only one."""
        return float(self.config.quality)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.bottleneck.quantiles.device

    @property
    def bottleneck(self) -> Any:
        """p(z); where there is no z, p(y)."""
        return next(m for m in self.model.modules() if isinstance(m, EntropyBottleneck))

    @property
    def conditional(self) -> Any:
        """p(y) given its scales and means, None where there is no z. ELIC has one for each group, all alike."""
        return next((m for m in self.model.modules() if isinstance(m, GaussianConditional)), None)

    @property
    def z_shows(self) -> bool:
        """Whether y has predicted means, which follow z."""
        return has_means(self.model)

    def level(self, quality: float) -> Tensor:
        """(1,) on the codec's device.

        Raises:
            ConfigError: not the model's quality.
        """
        if quality != self.config.quality:
            raise ConfigError(
                f"quality {quality:g}: {self.config.name} has quality {self.config.quality} alone: "
                "leave --quality and targets out, or name another model"
            )
        return torch.tensor([float(quality)], device=self.device)

    def lmbda_of(self, quality: float) -> float:
        """Weight of the mse (0..255) against bpp that CompressAI trains a quality for."""
        return LMBDAS[round(quality) - 1]

    def analyse(self, x: Tensor, quality: Tensor) -> Latents:
        """Latents of x (B, 3, H, W) in [0, 1], not rounded; z is (B, 0, 1, 1) where the model has none."""
        y = self.model.g_a(x)
        if self.conditional is None:
            return Latents(y, y.new_zeros(len(y), 0, 1, 1))
        return Latents(y, home_of_hyper(self.model).h_a(y if has_means(self.model) else y.abs()))

    @torch.no_grad()
    def grid(self, latents: Latents, quality: Tensor) -> Latents:
        """Means of y that a decoder would find on its way through these latents, and medians of z."""
        y, z = latents
        medians = self.bottleneck.quantiles[:, 0, 1].reshape(-1, 1, 1)
        if self.conditional is None:
            return Latents(medians, z.new_zeros(()))
        z_hat = (z - medians).round() + medians
        return Latents(entropy(self.model, y, z_hat, follow=True).means, medians)

    def synthesise(self, latents: Latents, quality: Tensor) -> Tensor:
        """x_hat (B, 3, H, W), not clamped."""
        x_hat: Tensor = self.model.g_s(latents.y)
        return x_hat

    def mixture(self, y_hat: Tensor, z_hat: Tensor, quality: Tensor) -> Gaussian | tuple[()]:
        """Parameters of all y, by one pass; nothing where p(y) is fixed."""
        return () if self.conditional is None else entropy(self.model, y_hat, z_hat, follow=False)

    def shift(self, mixture: Gaussian) -> Tensor:
        """The means."""
        return mixture.means

    def y_bits(self, y: Tensor, mixture: Gaussian) -> Tensor:
        """Bits of each y (B, M, h, w), on or off the grid."""
        conditional = self.conditional
        if conditional is None:
            return self._bottleneck_bits(y)
        likelihood = conditional._likelihood(y, mixture.scales, mixture.means)
        return -conditional.likelihood_lower_bound(likelihood).log2()

    def z_bits(self, z: Tensor, quality: Tensor) -> Tensor:
        """Bits of each z (B, N, h/4, w/4), on or off the grid."""
        return z if self.conditional is None else self._bottleneck_bits(z)

    def to_words(self, latents: Latents, quality: Tensor) -> NDArray[np.uint32]:
        """The stream of rounded latents, batch 1."""
        return zoo_stream.to_words(zoo_stream.compress(self.model, latents))

    def from_words(self, words: NDArray[np.uint32], width: int, height: int, quality: Tensor) -> Latents:
        """Rounded latents of a picture of width x height pixels.

        Raises:
            BitstreamError: the stream is none of this model.
        """
        strings = zoo_stream.from_words(words, zoo_stream.string_count(self.model))
        return zoo_stream.decompress(self.model, strings, (-(-height // STRIDE), -(-width // STRIDE)))

    def _bottleneck_bits(self, v: Tensor) -> Tensor:
        bottleneck = self.bottleneck
        values = v.transpose(0, 1).flatten(1).unsqueeze(1)  # (C, 1, B*h*w)
        likelihood, _, _ = bottleneck._likelihood(values)
        bits: Tensor = -bottleneck.likelihood_lower_bound(likelihood).log2()
        return bits.squeeze(1).unflatten(1, (v.shape[0], *v.shape[2:])).transpose(0, 1)


def load(spec: str, device: str | torch.device = "cpu") -> ZooCodec:
    """The model of `NAME:QUALITY:FILE`, or of `NAME:QUALITY` with CompressAI's published weights.

    Published weights (for mse) are downloaded once, by torch.hub into its cache, and checked by the hash in their name.

    Raises:
        ConfigError: no such model or quality.
        CheckpointError: weights that cannot be had, or do not fit.
    """
    architecture, _, rest = spec.partition(":")
    digit, _, file = rest.partition(":")
    if architecture not in MODELS:
        raise ConfigError(f"{FOREIGN}{spec}: no such model; there are {', '.join(MODELS)}")
    if digit not in [str(i + 1) for i in range(len(LMBDAS))]:
        raise ConfigError(f"{FOREIGN}{spec}: write its quality, {FOREIGN}{architecture}:1 to {len(LMBDAS)}")
    config = ZooConfig(architecture, int(digit))
    source = file or _url(config)
    weights = _read(source, lambda: _from_file(Path(file)) if file else _downloaded(source))
    try:
        model = MODELS[architecture].from_state_dict(weights)
    except (KeyError, RuntimeError, AttributeError) as error:
        raise CheckpointError(f"{source}: no weights of {architecture}: {first_line(error)}") from error
    return ZooCodec(model, config).to(device)


def _read(source: str, read: Callable[[], Any]) -> dict[str, Tensor]:
    """Weights by the names that this version of CompressAI gives them."""
    from compressai.zoo import load_state_dict

    try:
        found = read()
    except Exception as error:  # whatever a damaged file makes zipfile, the unpickler or torch raise
        mend = "download it elsewhere and name the file after the quality" if "://" in source else "name other weights"
        raise CheckpointError(f"{source}: {first_line(error)}: {mend}") from error
    weights = found.get("state_dict", found) if isinstance(found, dict) else {}
    return load_state_dict({k: v for k, v in weights.items() if isinstance(v, Tensor)})


def _from_file(path: Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True)


def _downloaded(url: str) -> Any:
    return torch.hub.load_state_dict_from_url(url, map_location="cpu", check_hash=True, weights_only=True)


def _url(config: ZooConfig) -> str:
    """Where CompressAI publishes a model's weights.

    Raises:
        CheckpointError: it does not.
    """
    from compressai.zoo.image import model_urls

    try:
        url: str = model_urls[config.architecture]["mse"][config.quality]
    except KeyError:
        raise CheckpointError(f"{config.name}: no weights are published: {config.name}:FILE names your own") from None
    return url
