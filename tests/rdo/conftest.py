"""A refinement's problem, with the tiny codec and a synthetic photograph; and the embedded model."""

import copy
from collections.abc import Callable

import pytest
import torch

from codec.coding import plain_latents
from codec.images.pixels import Pixels, to_tensor
from codec.loading import load
from codec.model import Codec
from rdo.objective import Best, Problem, priced

LMBDA = 1e-3  # rate and distortion of an untrained codec weigh about the same


class MemoryStore:
    """Store of `rdo.resuming` in memory; counts what it is given."""

    def __init__(self) -> None:
        self.data: bytes | None = None
        self.writes = 0

    def read(self) -> bytes | None:
        return self.data

    def write(self, data: bytes) -> None:
        self.data, self.writes = data, self.writes + 1


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture(scope="session")
def small() -> Codec:
    """The embedded model: an untrained one has no order of sizes or PSNR."""
    return load("small")


@pytest.fixture(scope="session")
def strayed(small: Codec) -> Codec:
    """`small` with networks of twice the weights in its decoder, so that they do harm to every picture."""
    codec = copy.deepcopy(small)
    with torch.no_grad():
        for name, parameter in codec.g_s.named_parameters():
            if not name.startswith(("unlap", "linear")):
                parameter.mul_(2)
    return codec


@pytest.fixture
def make_problem(tiny_codec: Codec, photo: Callable) -> Callable[..., tuple[Problem, Best]]:
    """Gives the problem of refining a photograph, and its plain encoding."""

    def make(height: int = 60, width: int = 100) -> tuple[Problem, Best]:
        x = to_tensor(Pixels(photo(height, width), grey=False))
        quality = tiny_codec.level(4.0)
        problem = Problem(tiny_codec, x, quality, torch.tensor([LMBDA]))
        with torch.no_grad():
            plain = plain_latents(tiny_codec, x, quality)
        return problem, priced(problem, plain)

    return make
