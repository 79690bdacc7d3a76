"""A step taken again and again: the same whether it is run or, on a GPU, replayed from its recording."""

import sys
import time
from collections.abc import Callable
from copy import deepcopy
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from codec.arithmetic import coding_arithmetic
from codec.coding import encode, write
from codec.errors import ConfigError
from codec.images.pixels import Pixels, to_tensor
from codec.model import Codec
from rdo import RefineConfig, refine
from rdo.cuda_graph import GraphedStep
from rdo.distortion import Distortion
from rdo.memory import within_memory
from rdo.objective import Problem
from rdo.refinement import Refined
from rdo.strips import Strips

memory = sys.modules["rdo.memory"]
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


class Inner(NamedTuple):
    a: Tensor
    b: Tensor


class State(NamedTuple):
    inner: Inner
    noise: Tensor


@pytest.mark.parametrize("capturable", [False, True])
@pytest.mark.parametrize("device", DEVICES)
def test_state_numbers_and_noise_go_from_call_to_call(device: str, capturable: bool) -> None:
    generator = torch.Generator(device).manual_seed(3)

    def step(state: State, plus: Tensor, times: Tensor) -> State:
        noise = torch.rand(4, generator=generator, device=device)
        return State(Inner(times * state.inner.a + plus, state.inner.a), noise)

    repeated = GraphedStep(step, generator, capturable)
    state = State(Inner(torch.zeros(2, device=device), torch.zeros(2, device=device)), torch.zeros(4, device=device))
    seen = []
    for number in range(5):
        state = repeated(state, number, 2.0)
        seen.append((float(state.inner.a[0]), float(state.inner.b[1]), state.noise.tolist()))
    assert [s[:2] for s in seen] == [(0, 0), (1, 0), (4, 1), (11, 4), (26, 11)]
    generator.manual_seed(3)
    assert [s[2] for s in seen] == [torch.rand(4, generator=generator, device=device).tolist() for _ in range(5)]
    other = state._replace(inner=Inner(torch.ones(2, device=device), state.inner.b))
    assert repeated(other, 1.0, 3.0).inner.a.tolist() == [4, 4]


def both_ways(refined: Callable[[], Refined], monkeypatch: pytest.MonkeyPatch) -> tuple[Refined, Refined]:
    """With recorded steps, and with steps that are run."""
    replayed = refined()
    monkeypatch.setattr(
        GraphedStep,
        "__call__",
        lambda self, state, *numbers: self.step(state, *(torch.tensor(n).cuda() for n in numbers)),
    )
    return replayed, refined()


@pytest.fixture
def codec(tiny_codec: Codec) -> Codec:
    return deepcopy(tiny_codec).cuda()


def assert_alike(a: Refined, b: Refined) -> None:
    assert bool((a.cost_est.total < a.plain_cost_est.total).all())
    assert torch.allclose(a.cost_est.total, b.cost_est.total, rtol=2e-3)
    assert float((a.latents.y != b.latents.y).float().mean()) < 0.02
    assert a.iters == b.iters


@pytest.mark.gpu
@pytest.mark.parametrize("stripped", [False, True])
@pytest.mark.parametrize("temperature_bits", [0.0, 2.0])
def test_a_recorded_search_is_the_search(codec, photo, monkeypatch, temperature_bits: float, stripped: bool) -> None:
    x = torch.cat([to_tensor(Pixels(photo(190, 100, seed=seed), grey=False)) for seed in (0, 1)]).cuda()
    config = RefineConfig(iters=20, temperature_bits=temperature_bits, strip_pixels=1 if stripped else None)
    assert_alike(*both_ways(lambda: refine(codec, x, 4.0, config=config, lmbda=1e-3), monkeypatch))


@pytest.mark.gpu
@pytest.mark.parametrize(
    "name",
    [
        "bmshj2018-factorized", "mbt2018-mean", "mbt2018", "cheng2020-attn", "cheng2020-anchor-checkerboard",
        "elic2022-official", "mbt2018-mean-vbr",
    ],
)  # fmt: skip
def test_recorded_searches_of_other_models(make_zoo_codec, photo, monkeypatch, name: str) -> None:
    codec = make_zoo_codec(name).cuda()
    x = to_tensor(Pixels(photo(70, 90), grey=False)).cuda()
    assert_alike(*both_ways(lambda: refine(codec, x, 3, config=RefineConfig(iters=12), lmbda=1e-3), monkeypatch))


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_is_found_is_priced_exactly(codec, photo, precision) -> None:
    pixels = Pixels(photo(100, 130), grey=False)
    x = to_tensor(pixels).cuda()
    found = refine(codec, x, 4.0, config=RefineConfig(iters=20, precision=precision), lmbda=1e-3)
    assert bool(found.cost_est.total < found.plain_cost_est.total)
    assert write(codec, found.plain, width=130, height=100, quality=4.0, grey=False) == encode(codec, pixels, 4.0)
    with coding_arithmetic():
        cost = Problem(codec, x, codec.level(4.0), torch.full((1,), 1e-3).cuda()).cost(found.latents)
    assert torch.equal(cost.total, found.cost_est.total)


@pytest.mark.gpu
def test_seconds_count_when_the_work_is_done(codec, photo) -> None:
    x = to_tensor(Pixels(photo(512, 512), grey=False)).cuda().expand(8, -1, -1, -1)
    refine(codec, x, 4.0, config=RefineConfig(iters=3), lmbda=1e-3)  # libraries load their kernels
    begin = time.monotonic()
    found = refine(codec, x, 4.0, config=RefineConfig(iters=10**6, time_budget=2), lmbda=1e-3)
    torch.cuda.synchronize()
    assert 2 < found.seconds <= time.monotonic() - begin < 4 and found.iters > 10


@pytest.mark.gpu
def test_ms_ssim_is_refined_without_a_recording(codec, photo) -> None:
    x = to_tensor(Pixels(photo(170, 180), grey=False)).cuda()
    found = refine(codec, x, 4.0, config=RefineConfig(iters=8), lmbda=1e-3, distortion=Distortion(ms_ssim_share=0.9))
    assert bool(found.cost_est.total < found.plain_cost_est.total)


@pytest.mark.gpu
def test_a_gpu_is_cut_into_strips_by_its_memory(codec, monkeypatch) -> None:
    shape = torch.Size((1, 3, 4096, 4096))
    assert within_memory(codec, shape, RefineConfig()) is codec
    monkeypatch.setattr(memory, "free_bytes", lambda device: 2**30)
    assert isinstance(within_memory(codec, shape, RefineConfig()), Strips)
    monkeypatch.setattr(memory, "free_bytes", lambda device: 2**20)
    with pytest.raises(ConfigError, match=r"the GPU: these pixels need at least"):
        within_memory(codec, shape, RefineConfig())
