"""Stages of coding one picture, each a call without arguments that can be repeated and timed alone."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codec.architecture import STRIDE
from codec.arithmetic import coding_arithmetic
from codec.bitstream.container import unpack
from codec.bitstream.range_coder import SymbolReader, SymbolWriter
from codec.bitstream.rounding import in_double
from codec.bitstream.symbols import code_group, code_z
from codec.coding import decode, encode, plain_latents, read
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
SERIAL_SIDE = 2  # latents; the serial model is timed on this corner of y, a whole window for each of its tokens


class StageInputs(NamedTuple):
    """A picture, its file and latents, and the context model's inputs in double precision.

    `features` are h_s's output (1, C, H/16, W/16), `rate_bias` the context model's embedding of the quality.
    """

    codec: Codec
    pixels: Pixels
    level: Tensor
    data: bytes
    latents: Latents
    features: Tensor
    rate_bias: Tensor


class ContextStage(NamedTuple):
    """Stepwise run of a context model, and the factor from its time to that for the whole picture."""

    run: Stage
    time_factor: float


def prepare(codec: Codec, pixels: Pixels, quality: float) -> StageInputs:
    """Encode a picture without refinement and compute the inputs of every stage."""
    data = encode(codec, pixels, quality, tile=0)
    level = codec.level(quality)
    latents = read(codec, data)[1]
    with coding_arithmetic():
        doubled = in_double(codec)
        features = doubled.features(latents.z.double(), level.double())
        return StageInputs(codec, pixels, level, data, latents, features, doubled.context_rate(level.double()))


def coding_stages(inputs: StageInputs) -> dict[str, Stage]:
    """Return encoding and decoding of whole files, the entropy coder alone, and a step of refinement."""
    mixtures = _group_mixtures(inputs)
    return {
        "encode": lambda: encode(inputs.codec, inputs.pixels, float(inputs.level), tile=0),
        "decode": lambda: decode(inputs.codec, inputs.data),
        "entropy coding": lambda: _code_symbols(inputs, mixtures, None),
        "entropy decoding": lambda: _code_symbols(inputs, mixtures, inputs.data),
        "refinement step": refinement_step(inputs.codec, inputs.pixels, inputs.level),
    }


def transform_stages(inputs: StageInputs) -> dict[str, Stage]:
    """Return g_a, g_s, h_a, h_s (in double precision, as files need it) and one pass of the context model."""
    codec, level = inputs.codec, inputs.level
    x, doubled = pad(to_tensor(inputs.pixels).to(level.device), STRIDE), in_double(codec)
    y = inputs.latents.y / codec.gains(level)[..., None, None]
    return {
        "g_a": _without_gradient(lambda: codec.g_a(x, level)),
        "g_s": _without_gradient(lambda: codec.g_s(y, level)),
        "h_a": _without_gradient(lambda: codec.h_a(y, level)),
        "h_s": _without_gradient(lambda: doubled.features(inputs.latents.z.double(), level.double())),
        "context, one pass": _without_gradient(lambda: codec.mixture(*inputs.latents, level)),
    }


def context_stage(inputs: StageInputs, variant: str) -> ContextStage:
    """Return the steps of one of `codec.networks.baselines.variants`, as a decoder takes them.

    Variants with the codec's own blocks get its weights, the others random ones. The serial model steps through the
    tokens of a corner of the picture.

    Raises:
        ConfigError: the variant's windows would be too large with this model.
    """
    own = in_double(inputs.codec)
    config = variants(own.config).get(variant)
    if config is None:
        raise ConfigError(f"{variant}: its windows would be too large with this model: leave it out (--ways)")
    model = make_context(config).double().eval().requires_grad_(False).to(inputs.features.device)
    if config.context == "econtextformer" and config.skip_first == own.config.skip_first:
        model.load_state_dict(own.context.state_dict())
    side = SERIAL_SIDE if config.context == "contextformer" else max(inputs.features.shape[2:])
    y, features = inputs.latents.y.double()[:, :, :side, :side], inputs.features[:, :, :side, :side]
    tokens = model.tokens(y)
    return ContextStage(
        run=lambda: _run_groups(model, tokens, features, inputs.rate_bias),
        time_factor=inputs.latents.y.numel() / y.numel(),
    )


def refinement_step(codec: AnyCodec, pixels: Pixels, level: Tensor) -> Stage:
    """Return one forward and backward pass of rate and distortion through frozen networks, in strips where large."""
    x = to_tensor(pixels).to(level.device)
    lmbda = torch.full_like(level, codec.lmbda_of(float(level)))
    problem = Problem(within_memory(codec, x.shape, RefineConfig()), x, level, lmbda, distortion_of(codec))
    with torch.no_grad():
        latents = plain_latents(codec, x, level)

    def step() -> None:
        free = Latents(*(v.clone().requires_grad_() for v in latents))
        problem.cost(free).total.sum().backward()

    return step


def _run_groups(model: ContextModel, tokens: Tensor, features: Tensor, rate_bias: Tensor) -> None:
    """Compute the parameters of every group of `tokens` from the groups before it."""
    with coding_arithmetic():
        state = model.start(features, rate_bias)
        for group in range(tokens.shape[1]):
            model.mixture(state)
            state = model.step(state, tokens[:, group : group + 1], rate_bias)


def _group_mixtures(inputs: StageInputs) -> list[StepMixture]:
    """Compute each group's mixture in quantisation steps, the entropy coder's input."""
    with coding_arithmetic():
        doubled, level = in_double(inputs.codec), inputs.level.double()
        model = doubled.context
        gains = doubled.group_gains(level, model.step_segments(*inputs.latents.y.shape[2:]))
        tokens = model.tokens(inputs.latents.y.double()) / gains.squeeze(4)
        raw = model.masked(tokens, inputs.features, inputs.rate_bias)
        parts = zip(*(t.split(1, 1) for t in raw), gains.split(1, 1), strict=True)
        return [in_steps(type(raw)(*mixture), gain) for *mixture, gain in parts]


def _code_symbols(inputs: StageInputs, mixtures: list[StepMixture], data: bytes | None) -> None:
    """Write every symbol of z and y with an entropy coder, or read them from a file's `data`."""
    known = inputs.codec.context.tokens(inputs.latents.y)
    writer = SymbolWriter()
    coder = writer if data is None else SymbolReader(_words(data))
    code_z(inputs.codec, coder, inputs.latents.z.shape, inputs.latents.z if data is None else None)
    for group, mixture in enumerate(mixtures):
        code_group(coder, mixture, known[:, group] if data is None else None)
    writer.finish()


def _words(data: bytes) -> NDArray[np.uint32]:
    """Return the words of a file of one tile."""
    [stream] = unpack(data).streams
    assert stream is not None
    return stream.words


def _without_gradient(stage: Stage) -> Stage:
    def run() -> None:
        with torch.no_grad():
            stage()

    return run
