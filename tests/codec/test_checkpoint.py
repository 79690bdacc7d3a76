"""Checkpoints: what is published loads the same everywhere, and nothing else loads."""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from codec import checkpoint
from codec.architecture import ModelConfig
from codec.bitstream.container import unpack
from codec.checkpoint import publish, read_checkpoint
from codec.coding import decode, encode
from codec.config_files import config_folder, model_config
from codec.errors import CheckpointError, ConfigError
from codec.identity import LATER, model_id
from codec.images.pixels import Pixels
from codec.loading import load
from codec.model import Codec

Photo = Callable[..., NDArray[np.uint8]]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, make_codec: Callable[..., Codec]) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny.safetensors"
    publish(make_codec(), path, {"licence": "any"})
    return path


def rewritten(path: Path, target: Path, tensors: dict[str, torch.Tensor] | None = None, **metadata: str) -> Path:
    """A copy with tensors replaced or metadata changed; an empty value removes a key."""
    _, old, facts = read_checkpoint(path)
    facts = {k: v for k, v in {**facts, **metadata}.items() if v}
    save_file({k: t.contiguous() for k, t in (tensors or old).items()}, target, facts)
    return target


def test_publish_rounds_to_half_and_load_gives_floats(published: Path, tiny_codec: Codec) -> None:
    codec = load(published)
    assert codec.config == tiny_codec.config
    assert not codec.training and not any(p.requires_grad for p in codec.parameters())
    ours = tiny_codec.state_dict()
    assert codec.state_dict().keys() == ours.keys()
    for name, tensor in codec.state_dict().items():
        if name == "prior.rows":
            continue  # made anew from the rounded weights
        expected = ours[name].half().float() if ours[name].is_floating_point() else ours[name]
        assert tensor.dtype == ours[name].dtype and torch.equal(tensor, expected), name
    assert read_checkpoint(published)[2]["licence"] == "any"
    assert published.stat().st_size < 2.3 * sum(t.numel() for t in ours.values()) + 30_000


def test_what_one_loaded_codec_writes_another_reads(published: Path, photo: Photo) -> None:
    pixels = Pixels(photo(48, 80), False)
    decoded = decode(load(str(published)), encode(load(published), pixels, 5))
    assert decoded.pixels.data.shape == (48, 80, 3)


def test_publish_freezes_the_prior_of_the_rounded_weights(tmp_path: Path, make_codec: Callable[..., Codec]) -> None:
    codec = make_codec()
    codec.prior.rows.zero_()
    publish(codec, tmp_path / "a.safetensors")
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"], "a temporary file was left behind"
    assert not bool(codec.prior.rows.any()), "the codec that is published must stay as it is"
    loaded = load(tmp_path / "a.safetensors")
    rows = loaded.prior.rows.clone()
    assert int(rows.min()) >= 1
    loaded.prior.freeze()
    assert torch.equal(loaded.prior.rows, rows)


def test_id_is_the_same_for_the_same_model(
    published: Path, make_codec: Callable[..., Codec], tiny_codec: Codec
) -> None:
    ids = {model_id(load(published)), model_id(load(published).to(memory_format=torch.channels_last))}
    assert len(ids) == 1 and all(len(i) == 4 for i in ids)
    assert model_id(make_codec()) == model_id(tiny_codec)


def test_publishing_again_changes_no_id(published: Path, tmp_path: Path) -> None:
    publish(load(published), tmp_path / "again.safetensors", {"licence": "another"})
    assert model_id(load(tmp_path / "again.safetensors")) == model_id(load(published))


def test_id_differs_for_any_other_model(published: Path, tiny_codec: Codec) -> None:
    codec = load(published)
    ids = {model_id(codec), model_id(tiny_codec)}
    for name, tensor in codec.state_dict().items():
        if tensor.numel():
            last = tuple(side - 1 for side in tensor.shape)
            old = tensor[last].clone()
            tensor[last] = 0 if float(old) else 1
            ids.add(model_id(codec))
            tensor[last] = old
        else:
            assert name.startswith("prior._"), "only CompressAI's unused tables are empty"
    assert len(ids) == 2 + sum(t.numel() > 0 for t in codec.state_dict().values())
    assert model_id(codec) == model_id(load(published))


def test_id_hangs_on_the_configuration(
    tiny_config: Callable[..., ModelConfig], make_codec: Callable[..., Codec]
) -> None:
    codec, other = make_codec(), make_codec()
    other.config = tiny_config(order="cfo")  # the same shapes, another coding order
    assert model_id(codec) != model_id(other)


@pytest.mark.parametrize("keep", [0, 7, 8, 500, -1])
def test_a_truncated_checkpoint_is_refused(published: Path, tmp_path: Path, keep: int) -> None:
    path = tmp_path / "cut.safetensors"
    path.write_bytes(published.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"cut\.safetensors: cannot be read as safetensors"):
        load(path)


@pytest.mark.parametrize("data", [b"\x89PNG\r\n\x1a\n" * 50, bytes(1000), b"\xff" * 1000, b"PK\x03\x04" * 99])
def test_another_kind_of_file_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(data)
    with pytest.raises(CheckpointError, match="cannot be read as safetensors"):
        load(tmp_path / "x.safetensors")


def test_an_altered_header_never_raises_anything_else(published: Path, tmp_path: Path) -> None:
    data = bytearray(published.read_bytes())
    length = struct.unpack("<Q", data[:8])[0]
    path = tmp_path / "altered.safetensors"
    refused = 0
    for at in np.random.default_rng(0).choice(8 + length, 40, replace=False):
        altered = data.copy()
        altered[at] ^= 1
        path.write_bytes(altered)
        try:
            load(path)
        except CheckpointError:
            refused += 1
    assert refused >= 30


def test_foreign_weights_are_refused(tmp_path: Path) -> None:
    save_file({"weight": torch.ones(3)}, tmp_path / "foreign.safetensors")
    with pytest.raises(CheckpointError, match="format None, expected 'rdo-codec-1': not a codec checkpoint"):
        load(tmp_path / "foreign.safetensors")


@pytest.mark.parametrize(
    "config",
    [
        "",
        "{",
        "[]",
        "{}",
        json.dumps({"name": "x", "colour": 1}),
        "5",
        "null",
        '"text"',
        "[" * 100_000,
    ],
)
def test_an_unreadable_configuration_is_refused(published: Path, tmp_path: Path, config: str) -> None:
    path = rewritten(published, tmp_path / "odd.safetensors", config=config)
    with pytest.raises(CheckpointError, match=r"odd\.safetensors: its configuration is unreadable"):
        load(path)


def test_weights_that_do_not_fit_are_refused(
    published: Path, tmp_path: Path, tiny_config: Callable[..., ModelConfig], tiny_codec: Codec
) -> None:
    config = json.loads(read_checkpoint(published)[2]["config"])
    wider = rewritten(published, tmp_path / "wider.safetensors", config=json.dumps({**config, "width": 24}))
    tensors = dict(tiny_codec.state_dict())
    del tensors["g_a.cells.bias"]
    lacking = rewritten(published, tmp_path / "lacking.safetensors", tensors)
    for path in (wider, lacking):
        with pytest.raises(CheckpointError, match="weights do not fit their configuration"):
            load(path)


@pytest.mark.parametrize("value", [float("nan"), 70_000.0])
def test_what_fp16_does_not_hold_is_not_published(
    tmp_path: Path, make_codec: Callable[..., Codec], value: float
) -> None:
    codec = make_codec()
    with torch.no_grad():
        codec.context.norm.weight[0] = value
    with pytest.raises(CheckpointError, match=r"context\.norm\.weight is not finite, or beyond fp16"):
        publish(codec, tmp_path / "bad.safetensors")
    assert not list(tmp_path.iterdir())


def test_an_unknown_model_lists_the_installed(monkeypatch: pytest.MonkeyPatch, published: Path) -> None:
    monkeypatch.setattr(checkpoint, "installed_models", lambda: {"alpha": published, "beta": published})
    with pytest.raises(CheckpointError, match=r"is a folder; did you mean .*\.safetensors\?"):
        load(published.parent)
    with pytest.raises(CheckpointError, match="nope: no such model or file; installed models: alpha, beta"):
        load("nope")
    assert load("alpha").config.name == "tiny"
    monkeypatch.setattr(checkpoint, "installed_models", dict)
    with pytest.raises(CheckpointError, match="installed models: none"):
        load("nope")


def test_installed_models_are_named_by_their_files() -> None:
    assert all(path.is_file() and path.stem == name for name, path in checkpoint.installed_models().items())


def test_the_small_model_is_small() -> None:
    config = model_config("small")
    assert config.name == "small"
    assert 1e6 < sum(p.numel() for p in Codec(config).parameters()) <= 4e6


def test_model_config_reads_a_file_of_ones_own(tmp_path: Path) -> None:
    text = (config_folder() / "models" / "small.yaml").read_text()
    (tmp_path / "mine.yaml").write_text(text.replace("name: small", "name: mine"))
    assert model_config(str(tmp_path / "mine.yaml")).name == "mine"


@pytest.mark.parametrize("name", ["nope", "", "small.yml", "/nowhere/x.yaml"])
def test_an_unknown_model_configuration_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="small, or name a" if name in ("nope", "") else "cannot be read"):
        model_config(name)


def test_what_came_later_counts_only_where_it_is_used(published: Path, make_codec: Callable[..., Codec]) -> None:
    """Ids of before hold, and checkpoints say nothing that older programs would refuse."""
    golden = Path(__file__).parent / "bitstream" / "golden"
    assert model_id(load(golden / "tiny.safetensors")) == unpack((golden / "photo.rdo").read_bytes())[0].model_id
    config = json.loads(read_checkpoint(published)[2]["config"])
    assert not set(LATER) & set(config)
    ids = {model_id(make_codec(**c)) for c in ({}, {"cached": False}, {"rearranged": False}, {"stride": 2})}
    assert len(ids) == 4


def test_a_later_field_is_published_and_loaded(tmp_path: Path, make_codec: Callable[..., Codec]) -> None:
    codec = make_codec(cached=False)
    publish(codec, tmp_path / "a.safetensors")
    assert load(tmp_path / "a.safetensors").config == codec.config
