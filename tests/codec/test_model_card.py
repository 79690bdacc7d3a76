"""Model cards: every shipped model has a correct one, and an outdated one is detected."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from codec.checkpoint import file_sha256, installed_models, publish
from codec.errors import CheckpointError, ConfigError
from codec.identity import model_id
from codec.loading import load
from codec.model import Codec
from codec.model_card import ModelCard, check_card, read_card
from codec.settings import to_mapping


@pytest.fixture
def weights(tmp_path: Path, make_codec: Callable[..., Codec]) -> Path:
    """Write a checkpoint and its card."""
    path = tmp_path / "tiny.safetensors"
    publish(make_codec(), path, {"steps": "7", "train_seconds": "5400"})
    codec = load(path)
    card = ModelCard(
        sha256=file_sha256(path), model_id=model_id(codec).hex(), parameters=sum(p.numel() for p in codec.parameters()),
        steps=7, hours=1.5, hardware="none", data="none", licences="none", kodak=(), anchor="none",
        bd_rate_percent=0.0, limits=("all",),
    )  # fmt: skip
    path.with_suffix(".yaml").write_text(yaml.safe_dump(to_mapping(card)))
    return path


@pytest.mark.parametrize("name", installed_models())
def test_every_shipped_model_has_a_true_card(name: str) -> None:
    path = installed_models()[name]
    card = read_card(path)
    assert card is not None, f"write {path.with_suffix('.yaml')}"
    check_card(card, path)
    assert card.data and card.licences and card.limits
    curve = [(point.quality, point.bpp, point.psnr_db, point.ms_ssim) for point in card.kodak]
    assert len(curve) >= 5
    assert all(list(column) == sorted(set(column)) for column in zip(*curve, strict=True)), "each rises with quality"


def test_a_true_card_passes(weights: Path) -> None:
    card = read_card(weights)
    assert card is not None and card.limits == ("all",)
    check_card(card, weights)


@pytest.mark.parametrize("field", ["sha256", "model_id", "parameters", "steps", "hours"])
def test_a_stale_card_is_found_out(weights: Path, field: str) -> None:
    mapping = yaml.safe_load(weights.with_suffix(".yaml").read_text())
    mapping[field] = 99 if isinstance(mapping[field], int | float) else "00"
    weights.with_suffix(".yaml").write_text(yaml.safe_dump(mapping))
    card = read_card(weights)
    assert card is not None
    with pytest.raises(CheckpointError, match=f"not what its card says: {field} is [^;]*: renew the card"):
        check_card(card, weights)


def test_other_weights_do_not_pass_for_the_cards(weights: Path, make_codec: Callable[..., Codec]) -> None:
    card = read_card(weights)
    assert card is not None
    publish(make_codec(seed=1), weights)
    with pytest.raises(CheckpointError, match=r"sha256 is .*; model_id is "):
        check_card(card, weights)


def test_a_checkpoint_without_a_card_has_none_and_a_typo_is_refused(weights: Path) -> None:
    path = weights.with_suffix(".yaml")
    path.write_text(path.read_text().replace("licences:", "licenses:"))
    with pytest.raises(ConfigError, match=r"tiny\.yaml: licenses: unknown key; did you mean 'licences'"):
        read_card(weights)
    path.unlink()
    assert read_card(weights) is None
