"""What a model's configuration may be, and the lambda of a quality."""

from collections.abc import Callable
from typing import Any

import pytest

from codec.architecture import ModelConfig, lmbda_of
from codec.config_files import model_config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "../../elsewhere"}, "letters, digits and"),
        ({"name": "team/base"}, "letters, digits and"),
        ({"name": ""}, "letters, digits and"),
        ({"window": 64}, r"segments 4 x window 64\^2: 16384 latents to attend over"),
        ({"latent": 18}, "latent 18 is no multiple of segments 4"),
        ({"context_width": 15}, "context_width 15 is no multiple of heads 2"),
        ({"window": 6}, "window 6 is no multiple of 4"),
        ({"mixtures": 0}, "mixtures 0 must lie in 1..4096"),
        ({"levels": 10**12}, "levels 1000000000000 must lie in 1..4096"),
        ({"context_depth": 0}, "context_depth 0 must lie"),
        ({"segments": 0}, "segments 0 must lie"),
        ({"heads": 0}, "heads 0 must lie"),
        ({"window": -8}, "window -8 must lie"),
        ({"latent": 0}, "latent 0 must lie"),
        ({"width": -8}, "width -8 must lie"),
        ({"synthesis_blocks": -1}, r"synthesis_blocks -1 must lie in 0\.\.4096"),
    ],
)
def test_an_impossible_architecture_is_refused(
    tiny_config: Callable[..., ModelConfig], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        tiny_config(**changes)


@pytest.mark.parametrize("name", ["small", "base"])
def test_named_models_exist(name: str) -> None:
    config = model_config(name)
    assert config.name == name and config.segment_width * config.segments == config.latent


def test_lambda_runs_geometrically_over_the_papers_range() -> None:
    assert lmbda_of(1) == pytest.approx(0.002) and lmbda_of(8) == pytest.approx(0.058)
    assert lmbda_of(4.5) == pytest.approx((0.002 * 0.058) ** 0.5)
