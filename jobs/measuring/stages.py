"""The stages of coding one picture, each ready to be called alone and again: what `rdo-bench` times."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from codec.bitstream.container import unpack
from codec.bitstream.range_coder import SymbolReader, SymbolWriter
from codec.bitstream.rounding import in_double
from codec.bitstream.symbols import code_group, code_z
from codec.coding import coding_arithmetic, decode, encode, plain_latents, read
from codec.errors import ConfigError
from codec.images.pixels import Pixels, pad, to_tensor
from codec.interface import AnyCodec, Latents
from codec.model import Codec
from codec.networks.baselines import make_context, variants
from codec.networks.context import ContextModel
from codec.networks.likelihoods import StepMixture, in_steps
from rdo.config import RefineConfig
from rdo.distortion import distortion_of
from rdo.memory import within_memory
from rdo.objective import Problem

Stage = Callable[[], object]
SERIAL_CROP = 32  # pixels: the serial model steps through this corner, every step a whole window, for the whole picture


class Subject(NamedTuple):
    """A picture and all that its stages start from: its file, its latents, and the context model's inputs in double."""

    codec: Codec
    pixels: Pixels
    level: Tensor
    data: bytes
    latents: Latents
    features: Tensor
    rate_bias: Tensor


def subject(codec: Codec, pixels: Pixels, quality: float) -> Subject:
    """Encode a picture plainly and keep what its stages need."""
    data = encode(codec, pixels, quality)
    level = codec.level(quality)
    latents = read(codec, data)[1]
    with coding_arithmetic():
        doubled = in_double(codec)
        features = doubled.features(latents.z.double(), level.double())
        return Subject(codec, pixels, level, data, latents, features, doubled.context_rate(level.double()))


def coding_stages(on: Subject) -> dict[str, Stage]:
    """Whole files, and the entropy coder alone: rows of probabilities, symbols, words."""
    mixtures = _mixtures(on)
    return {
        "encode": lambda: encode(on.codec, on.pixels, float(on.level)),
        "decode": lambda: decode(on.codec, on.data),
        "entropy coding": lambda: _through_coder(on, mixtures, None),
        "entropy decoding": lambda: _through_coder(on, mixtures, on.data),
        "refinement step": refinement_step(on.codec, on.pixels, on.level),
    }


def transform_stages(on: Subject) -> dict[str, Stage]:
    """The networks outside the context model; `h_s` in double, as files need it."""
    x, doubled = pad(to_tensor(on.pixels).to(on.level.device), 64), in_double(on.codec)
    y = on.latents.y / on.codec.gains(on.level)[..., None, None]
    return {
        "g_a": _quietly(lambda: on.codec.g_a(x, on.level)),
        "g_s": _quietly(lambda: on.codec.g_s(y, on.level)),
        "h_a": _quietly(lambda: on.codec.h_a(y, on.level)),
        "h_s": _quietly(lambda: doubled.features(on.latents.z.double(), on.level.double())),
        "context, one pass": _quietly(lambda: on.codec.mixture(*on.latents, on.level)),
    }


def context_stage(on: Subject, variant: str) -> tuple[Stage, float]:
    """The steps of a context model of `codec.networks.baselines.variants`, and what its time is multiplied by.

    Those with the codec's own blocks have its weights, the others random ones. The serial model steps through the
    tokens of a corner of the picture.
    """
    own = in_double(on.codec)
    config = variants(own.config).get(variant)
    if config is None:
        raise ConfigError(f"{variant}: its windows would be too large with this model: leave it out (--ways)")
    model = make_context(config).double().eval().requires_grad_(False).to(on.features.device)
    if config.context == "econtextformer" and config.skip_first == own.config.skip_first:
        model.load_state_dict(own.context.state_dict())
    side = SERIAL_CROP // 16 if config.context == "contextformer" else max(on.features.shape[2:])
    y, features = on.latents.y.double()[:, :, :side, :side], on.features[:, :, :side, :side]
    tokens = model.tokens(y)
    return lambda: _walk(model, tokens, features, on.rate_bias), on.latents.y.numel() / y.numel()


def refinement_step(codec: AnyCodec, pixels: Pixels, level: Tensor) -> Stage:
    """One forward and backward pass of rate and distortion through the frozen networks, of large pictures in strips."""
    x = to_tensor(pixels).to(level.device)
    lmbda = torch.full_like(level, codec.lmbda_of(float(level)))
    problem = Problem(within_memory(codec, x.shape, RefineConfig()), x, level, lmbda, distortion_of(codec))
    with torch.no_grad():
        latents = plain_latents(codec, x, level)

    def step() -> None:
        free = Latents(*(v.clone().requires_grad_() for v in latents))
        problem.cost(free).total.sum().backward()

    return step


def _walk(model: ContextModel, tokens: Tensor, features: Tensor, rate_bias: Tensor) -> None:
    """The context model's part of decoding: every group's parameters, from the groups before it."""
    with coding_arithmetic():
        state = model.start(features, rate_bias)
        for group in range(tokens.shape[1]):
            model.mixture(state)
            state = model.step(state, tokens[:, group : group + 1], rate_bias)


def _mixtures(on: Subject) -> list[StepMixture]:
    """What the entropy coder is given for each group."""
    with coding_arithmetic():
        doubled, level = in_double(on.codec), on.level.double()
        model = doubled.context
        gains = doubled.group_gains(level, model.step_segments(*on.latents.y.shape[2:]))
        tokens = model.tokens(on.latents.y.double()) / gains.squeeze(4)
        raw = model.masked(tokens, on.features, on.rate_bias)
        parts = zip(*(t.split(1, 1) for t in raw), gains.split(1, 1), strict=True)
        return [in_steps(type(raw)(*mixture), gain) for *mixture, gain in parts]


def _through_coder(on: Subject, mixtures: list[StepMixture], data: bytes | None) -> None:
    """Every symbol into an entropy coder, or out of a file's words."""
    known = on.codec.context.tokens(on.latents.y)
    writer = SymbolWriter()
    coder = writer if data is None else SymbolReader(unpack(data)[1])
    code_z(on.codec, coder, on.latents.z.shape, on.latents.z if data is None else None)
    for group, mixture in enumerate(mixtures):
        code_group(coder, mixture, known[:, group] if data is None else None)
    writer.finish()


def _quietly(run: Stage) -> Stage:
    def quiet() -> None:
        with torch.no_grad():
            run()

    return quiet
