import gc
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import pytest
import torch

from codec.errors import ConfigError
from codec.images.pixels import Pixels, to_tensor
from codec.interface import Latents
from codec.model import Codec
from rdo.config import RefineConfig
from rdo.refinement import refine
from rdo.strips import LATENTS, STRIP_PIXELS, TEMPORARIES, Strips, bounded, halo_rows, in_use, kept_bytes

QUALITY = torch.tensor([4.0, 6.5])
LMBDA = 1e-4  # rate and distortion of an untrained codec weigh about the same


def random_latents(codec: Codec, rows: int, columns: int) -> Latents:
    shapes = (2, codec.config.latent, rows, columns), (2, codec.config.hyper_width, rows // 4, columns // 4)
    return Latents(*((2 * torch.randn(shape)).round() for shape in shapes))


def results(codec: Codec | Strips, latents: Latents) -> tuple[list[torch.Tensor], tuple[torch.Tensor, ...]]:
    """Everything that a refinement asks, and the gradient of a random sum of it."""
    free = Latents(*(v.clone().requires_grad_() for v in latents))
    mixture = codec.mixture(*free, QUALITY)
    asked = [*mixture, codec.y_bits(free.y, mixture), codec.z_bits(free.z, QUALITY), codec.synthesise(free, QUALITY)]
    weights = torch.Generator().manual_seed(1)
    total = sum((t * torch.rand(t.shape, generator=weights)).mean() for t in asked)
    assert isinstance(total, torch.Tensor)
    return [t.detach() for t in asked], torch.autograd.grad(total, free)


@pytest.mark.parametrize("transform", ["klt", "paper"])
@pytest.mark.parametrize("rows", [8, 24])
def test_strips_give_the_values_and_gradients_of_the_whole(
    transform: Literal["klt", "paper"], rows: int, make_codec: Callable[..., Codec]
) -> None:
    codec = make_codec(transform=transform)
    latents = random_latents(codec, 52, 12)
    values, slopes = results(codec, latents)
    in_strips, slopes_in_strips = results(Strips(codec, rows, halo_rows(codec)), latents)
    for whole, strip in zip((*values, *slopes), (*in_strips, *slopes_in_strips), strict=True):
        assert torch.allclose(whole, strip, rtol=1e-4, atol=2e-5 * float(whole.abs().max()))


def test_a_narrower_halo_is_felt(tiny_codec: Codec) -> None:
    halo = halo_rows(tiny_codec)
    assert halo > 0 and halo % tiny_codec.config.window == 0
    latents = random_latents(tiny_codec, 52, 12)
    _, slopes = results(tiny_codec, latents)
    _, clipped = results(Strips(tiny_codec, 8, halo - tiny_codec.config.window), latents)
    assert any((a - b).abs().max() > 1e-2 * a.abs().max() for a, b in zip(slopes, clipped, strict=True))


def test_deeper_contexts_reach_further(make_codec: Callable[..., Codec]) -> None:
    assert halo_rows(make_codec(context_depth=4)) > halo_rows(make_codec(context_depth=2))


def test_strips_keep_less(tiny_codec: Codec) -> None:
    assert 0 < sum(kept_bytes(Strips(tiny_codec, 8, 8))) < sum(kept_bytes(tiny_codec)) / 2


def test_small_pictures_are_done_whole(tiny_codec: Codec) -> None:
    assert bounded(tiny_codec, torch.Size((1, 3, 2048, 1024)), RefineConfig()) is tiny_codec
    large = bounded(tiny_codec, torch.Size((1, 3, 2049, 1024)), RefineConfig())
    assert isinstance(large, Strips) and large.rows == STRIP_PIXELS // 1024 // 16
    pair = bounded(tiny_codec, torch.Size((2, 3, 2049, 1024)), RefineConfig())
    assert isinstance(pair, Strips) and pair.rows == large.rows // 2


def test_less_memory_gives_lower_strips(tiny_codec: Codec) -> None:
    shape = torch.Size((1, 3, 4096, 4096))
    now = in_use(tiny_codec) / 2**30
    found = [bounded(tiny_codec, shape, RefineConfig(memory_gib=now + gib)) for gib in (1, 1.5, 50)]
    assert isinstance(found[0], Strips) and isinstance(found[1], Strips) and found[2] is tiny_codec
    assert found[0].rows < found[1].rows
    descent = bounded(tiny_codec, shape, RefineConfig(memory_gib=now + 1.5, method="linear"))
    assert isinstance(descent, Strips) and descent.rows < found[1].rows, "its optimiser takes memory too"
    with pytest.raises(ConfigError, match="need at least"):
        bounded(tiny_codec, shape, RefineConfig(memory_gib=now / 2))


def test_no_more_is_asked_for_than_the_whole_picture_takes(tiny_codec: Codec) -> None:
    """A low, wide picture: lower than the halo of the narrowest strip."""
    shape, now = torch.Size((1, 3, 64, 64_000)), in_use(tiny_codec) / 2**30
    with pytest.raises(ConfigError, match="need at least") as refusal:
        bounded(tiny_codec, shape, RefineConfig(memory_gib=now / 2))
    told = float(str(refusal.value).split()[-2])
    whole = (TEMPORARIES * sum(kept_bytes(tiny_codec)) + LATENTS * 4 * tiny_codec.config.latent / 16**2) * 64 * 64_000
    assert told <= now + whole / 2**30 + 0.05
    assert bounded(tiny_codec, shape, RefineConfig(memory_gib=told)) is not None


@pytest.mark.parametrize("side", [2048, 2560, 3072, 3584, 4096])
def test_the_limit_that_is_named_is_enough(tiny_codec: Codec, side: int) -> None:
    with pytest.raises(ConfigError, match="need at least") as refusal:
        bounded(tiny_codec, torch.Size((1, 3, side, side)), RefineConfig(memory_gib=0.1))
    told = float(str(refusal.value).split()[-2])
    assert isinstance(bounded(tiny_codec, torch.Size((1, 3, side, side)), RefineConfig(memory_gib=told)), Strips)


def test_measuring_what_is_kept_keeps_nothing(tiny_codec: Codec) -> None:
    def alive() -> int:
        gc.collect()
        return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())

    found, before = kept_bytes(tiny_codec), alive()
    assert kept_bytes(tiny_codec) == found and alive() == before


@pytest.mark.parametrize("settings", [{"strip_pixels": 1}, {"memory_gib": 50.0}])
def test_strips_are_measured_where_gradients_are_off(tiny_codec: Codec, settings: dict[str, Any]) -> None:
    shape = torch.Size((1, 3, 512, 512))
    with torch.no_grad():
        assert type(bounded(tiny_codec, shape, RefineConfig(**settings))) is (
            Strips if "strip_pixels" in settings else Codec
        )


def test_a_refinement_in_strips_finds_what_one_without_finds(tiny_codec: Codec, photo: Callable[..., Any]) -> None:
    x = to_tensor(Pixels(photo(200, 150), grey=False))
    config = RefineConfig(iters=4, method="sga", lr_y=0.2, lr_z=0.1)
    whole = refine(tiny_codec, x, 4, config, LMBDA)
    cut = refine(tiny_codec, x, 4, replace(config, strip_pixels=1), LMBDA)
    assert cut.cost_est.total < cut.plain_cost_est.total
    assert torch.allclose(cut.plain_cost_est.total, whole.plain_cost_est.total, rtol=1e-5)
    assert torch.allclose(cut.cost_est.total, whole.cost_est.total, rtol=1e-2)


PROGRAM = """
import resource, sys, torch
from jobs import cli
cli.keep_memory()
import codec, rdo
x = torch.nn.functional.interpolate(torch.rand(1, 3, 128, 128), size=(1024, 1024), mode="bicubic").clamp(0, 1)
limit = float(sys.argv[1]) or None
rdo.refine(codec.load("small"), x, 4, rdo.RefineConfig(iters=1, memory_gib=limit))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux only")
def test_the_process_stays_below_the_limit() -> None:
    def peak_gib(limit: float) -> float:
        command = [sys.executable, "-W", "ignore", "-c", PROGRAM, str(limit)]
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    free = peak_gib(0)
    assert free > 1.75 > peak_gib(1.75)
