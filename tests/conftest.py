"""A tiny random codec and synthetic photographs: what every test of the codec works on, the same in each run."""

import gc
import os
import secrets
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: threads that spin starve each other on few cores

import numpy as np
import pytest
import torch
from hypothesis import settings
from numpy.typing import NDArray

from codec.architecture import ModelConfig
from codec.model import Codec, set_gains_from_deviation
from codec.networks.transforms import PaperAnalysis

Photo = Callable[..., NDArray[np.uint8]]
TINY: dict[str, Any] = {
    "name": "tiny", "transform": "klt", "width": 16, "latent": 16, "hyper_width": 8, "hyper_features": 16,
    "context_width": 16, "context_depth": 2, "heads": 2, "head_width": 16, "mlp_ratio": 2, "window": 8,
    "analysis_blocks": 1, "synthesis_blocks": 1,
}  # fmt: skip

torch.set_num_threads(1)
settings.register_profile("steady", deadline=None, max_examples=30, derandomize=True, database=None)
settings.load_profile("steady")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests of a GPU are skipped where there is none."""
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")


@pytest.fixture(autouse=True)
def same_noise_each_run() -> None:
    """A threshold that held once holds always; and no test's threads slow the next."""
    torch.manual_seed(0)
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_config() -> Callable[..., ModelConfig]:
    """Gives a `ModelConfig` small enough for a test, with any field changed."""
    return lambda **changes: ModelConfig(**{**TINY, **changes})


@pytest.fixture(scope="session")
def make_codec(tiny_config: Callable[..., ModelConfig]) -> Callable[..., Codec]:
    """Gives a codec with untrained weights, no two parameters or levels alike, and rows for p(z)."""

    def make(seed: int = 0, transform: Literal["klt", "paper"] = "klt", **changes: Any) -> Codec:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            codec = Codec(tiny_config(transform=transform, **changes))
            perturb(codec)
        codec.prior.freeze()
        return codec.eval().requires_grad_(False)

    return make


@pytest.fixture(scope="session")
def tiny_codec(make_codec: Callable[..., Codec]) -> Codec:
    """One such codec, shared: a test must not change it."""
    return make_codec()


@torch.no_grad()
def perturb(codec: Codec) -> None:
    """Noise on everything that starts at zero, so that no path is silent, and units as after a KLT's initialisation."""
    for parameter in codec.parameters():
        if not bool(parameter.any()):
            parameter.normal_(std=0.05)
    deviation = torch.linspace(15, 45, codec.config.latent)
    for transform in (codec.g_a, codec.g_s):
        if hasattr(transform, "deviation"):
            transform.deviation.copy_(deviation)
    set_gains_from_deviation(codec, deviation)
    codec.log_gain.table.add_(torch.randn_like(codec.log_gain.table), alpha=0.3)
    codec.context_rate.table.normal_(std=0.3)
    codec.h_a.rest[-1].weight.mul_(80)  # otherwise every z rounds to 0
    if isinstance(codec.g_a, PaperAnalysis):
        codec.g_a.tail[-1].weight.mul_(40)  # ... and every y
    codec.context.head.out.weight.mul_(3)


def make_photo(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """uint8 (H, W, 3) of gradients, soft blobs and a little noise."""
    rng = np.random.default_rng((seed, height, width))
    rows, cols = np.mgrid[:height, :width] / max(height, width)
    slope = rng.uniform(-80, 80, (2, 3))
    image = 128 + rows[..., None] * slope[0] + cols[..., None] * slope[1]
    for _ in range(12):
        at, size = rng.uniform(0, 1, 2), rng.uniform(0.03, 0.25)
        blob = np.exp(-((rows - at[0]) ** 2 + (cols - at[1]) ** 2) / (2 * size**2))
        image += blob[..., None] * rng.uniform(-90, 90, 3)
    image += rng.normal(0, 2, image.shape)
    return image.round().clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def photo() -> Photo:
    """Gives `photo(height, width, seed=0)`: uint8 (H, W, 3), see `make_photo`."""
    return make_photo


@pytest.fixture(scope="session")
def make_zoo_codec() -> Callable[..., Any]:
    """Gives CompressAI's model of a name, tiny and untrained, with medians, means and scales far from trivial.

    Those of variable rate have offsets of tenths of a step; the step of their z varies where `step_varies`.
    """
    models = pytest.importorskip("compressai.models", reason="needs CompressAI")
    from compressai.entropy_models import EntropyBottleneck, EntropyBottleneckVbr
    from torch.nn import Conv2d

    from codec.zoo.fixed_rate import MODELS, ZooCodec, ZooConfig
    from codec.zoo.variable_rate import VARIABLE, VbrCodec

    groups = {"groups": [2, 2, 4, 8]}
    widths: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
        "cheng2020-anchor": ((8,), {}), "cheng2020-attn": ((8,), {}), "cheng2020-anchor-checkerboard": ((8,), {}),
        "elic2022-official": ((8, 16), groups), "elic2022-chandelier": ((8, 16), groups),
    }  # fmt: skip

    @torch.no_grad()
    def make(name: str, seed: int = 0, step_varies: bool = False) -> ZooCodec:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            sizes, settings = widths.get(name, ((8, 16), {"vr_entbttlnck": True} if step_varies else {}))
            model = {**MODELS, **VARIABLE}[name](*sizes, **settings).eval()
            bottleneck = next(m for m in model.modules() if isinstance(m, EntropyBottleneck | EntropyBottleneckVbr))
            bottleneck.quantiles[:, 0, 1] += torch.rand(bottleneck.channels) - 0.5
            hyper = model.latent_codec["hyper"] if isinstance(model, models.SimpleVAECompressionModel) else model
            _last_conv(model.g_a, Conv2d).weight.mul_(12)
            if hasattr(hyper, "h_a"):
                _last_conv(hyper.h_a, Conv2d).weight.mul_(20)
            for part, module in model.named_modules():
                if part.endswith("entropy_parameters") and any(True for _ in module.parameters()):
                    _last_conv(module, Conv2d).bias.add_(1.3)
            if not hasattr(model, "entropy_parameters") and hasattr(model, "h_s"):
                _last_conv(model.h_s, Conv2d).bias.add_(1.3)
            if name in VARIABLE:
                _perturb_rates(model)
                return VbrCodec(model, ZooConfig(name))
        return ZooCodec(model, ZooConfig(name, 3))

    return make


def _perturb_rates(model: Any) -> None:
    """Gains of uneven ratios and either sign, offsets that follow the scales, steps of z above their bound."""
    model.Gain.mul_(torch.rand(len(model.Gain)) + 1.5)
    model.Gain[1::3].neg_()
    for layer in model.QuantABCD[::2]:
        layer.weight.mul_(2)
    model.QuantABCD[-1].bias.fill_(0.2)
    if model.vr_entbttlnck:
        model.gayn2zqstep[-2].bias.fill_(1.0)


def _last_conv(network: torch.nn.Module, kind: type) -> Any:
    return [m for m in network.modules() if isinstance(m, kind)][-1]


@pytest.fixture
def one_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave plain encoding the only start: an untrained codec's networks do harm to every picture."""
    for module in ("rdo.starts", "rdo.tiled_picture"):
        monkeypatch.setattr(f"{module}.HARD_RATIO", 0.0)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[Any]:
    """S3 API of moto's server; skips where it is not installed."""
    for name in ("moto", "s3fs"):
        pytest.importorskip(name, reason=f"{name} is not installed: pip install '.[test]'")
    sys.path.insert(0, str(Path(__file__).parent))
    try:
        from object_store import serve
    finally:
        sys.path.pop(0)
    with serve() as store:
        yield store


@pytest.fixture
def store(s3_server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """An empty bucket, `store.bucket`, which the usual environment leads to; `store.fault` may be set."""
    from codec import storage

    settings = {
        "AWS_ENDPOINT_URL": s3_server.endpoint,
        "AWS_ACCESS_KEY_ID": "someone",
        "AWS_SECRET_ACCESS_KEY": "hush-hush",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",  # of botocore: it would wait many seconds
        "AWS_CONFIG_FILE": str(tmp_path / "no-config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "no-credentials"),
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.setattr(storage, "PAUSES_S", (0.01, 0.01, 0.01))
    name = f"bucket-{secrets.token_hex(4)}"
    s3_server.bucket, s3_server.fault = f"s3://{name}", lambda method, path: None
    request = urllib.request.Request(f"{s3_server.endpoint}/{name}", method="PUT")
    urllib.request.urlopen(request, timeout=60).close()
    s3_server.requests.clear()
    yield s3_server
    storage._file_system_class("s3", "").clear_instance_cache()
    gc.collect()
