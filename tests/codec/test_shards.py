"""Shards: tensors survive the round trip, and a missing or altered shard is refused by its hash."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from codec.checkpoint import check_sha256, export, file_sha256, load_own, publish, read_checkpoint
from codec.errors import CheckpointError
from codec.identity import model_id
from codec.loading import load
from codec.model import Codec
from codec.shards import read_shards, write_shards

LIMIT = 60_000


@pytest.fixture
def manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_codec: Callable[..., Codec]) -> Path:
    """Export a tiny codec in several shards."""
    monkeypatch.setattr("codec.checkpoint.write_shards", lambda *args: write_shards(*args, limit=LIMIT))
    publish(make_codec(), tmp_path / "tiny.json", {"licence": "any"})
    return tmp_path / "tiny.json"


def shards(manifest: Path) -> list[Path]:
    return [manifest.with_name(shard["file"]) for shard in json.loads(manifest.read_text())["shards"]]


def test_a_sharded_model_is_the_one_in_one_file(
    manifest: Path, tmp_path: Path, make_codec: Callable[..., Codec]
) -> None:
    publish(make_codec(), tmp_path / "one.safetensors")
    assert len(shards(manifest)) > 3
    assert all(0 < path.stat().st_size <= LIMIT for path in shards(manifest))
    assert model_id(load_own(manifest)) == model_id(load(tmp_path / "one.safetensors"))
    assert read_checkpoint(manifest)[2]["licence"] == "any"


def test_a_missing_shard_is_refused(manifest: Path) -> None:
    shards(manifest)[1].unlink()
    with pytest.raises(CheckpointError, match=r"tiny\.[0-9a-f]{8}\.shard: shard cannot be read: .*: fetch it again"):
        load_own(manifest)


@pytest.mark.parametrize("damage", ["flipped", "cut", "swapped", "empty"])
def test_an_altered_shard_is_refused_by_its_hash(manifest: Path, damage: str) -> None:
    first, second = shards(manifest)[:2]
    data = first.read_bytes()
    first.write_bytes(
        {
            "flipped": data[:-1] + bytes([data[-1] ^ 1]),
            "cut": data[:-1],
            "swapped": second.read_bytes(),
            "empty": b"",
        }[damage]
    )
    with pytest.raises(CheckpointError, match=r"shard has SHA-256 [0-9a-f]{64}, expected [0-9a-f]{64}"):
        load_own(manifest)


def test_a_shard_elsewhere_is_not_read(manifest: Path, tmp_path: Path) -> None:
    content = json.loads(manifest.read_text())
    (tmp_path / "inner").mkdir()
    inner = tmp_path / "inner" / "tiny.json"
    content["shards"][0]["file"] = f"../{content['shards'][0]['file']}"
    inner.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="is no plain file name"):
        load(inner)


@pytest.mark.parametrize("name", ["", "a\0b.shard"])
def test_a_shard_without_a_name_is_refused(manifest: Path, name: str) -> None:
    content = json.loads(manifest.read_text())
    content["shards"][0]["file"] = name
    manifest.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="shard cannot be read"):
        load_own(manifest)


def test_a_forged_shard_that_is_no_safetensors_is_refused(manifest: Path) -> None:
    content, path = json.loads(manifest.read_text()), shards(manifest)[0]
    path.write_bytes(b"not tensors")
    content["shards"][0]["sha256"] = file_sha256(path)
    manifest.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="is no safetensors file"):
        load_own(manifest)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "5", "null", '{"format": "x"}', '{"format": "rdo-shards-1", "shards": 3, "metadata": {}}',
             '{"format": "rdo-shards-1", "shards": [{"file": 1}], "metadata": {}}', "[" * 100_000]
)  # fmt: skip
def test_another_kind_of_manifest_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(CheckpointError, match="cannot be read as a manifest of shards"):
        read_shards(tmp_path / "x.json")


def test_a_manifest_of_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"format": "other", "shards": [], "metadata": {}}')
    with pytest.raises(CheckpointError, match="format 'other', expected 'rdo-shards-1'"):
        load(tmp_path / "x.json")


def test_a_new_export_leaves_no_old_shards(manifest: Path, make_codec: Callable[..., Codec]) -> None:
    before = set(shards(manifest))
    publish(make_codec(seed=1), manifest)
    assert set(manifest.parent.iterdir()) == {manifest, *shards(manifest)}
    assert before.isdisjoint(shards(manifest)) and load_own(manifest)


def test_an_export_cut_off_leaves_the_one_before(
    manifest: Path, make_codec: Callable[..., Codec], monkeypatch: pytest.MonkeyPatch
) -> None:
    from codec import shards as module

    honest, before = module.write_atomically, model_id(load_own(manifest))

    def killed(path: Path, data: bytes) -> None:
        if path == manifest:
            raise KeyboardInterrupt
        honest(path, data)

    monkeypatch.setattr(module, "write_atomically", killed)
    with pytest.raises(KeyboardInterrupt):
        publish(make_codec(seed=1), manifest)
    assert model_id(load_own(manifest)) == before


def test_a_tensor_larger_than_a_shard_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="wide has 80000 bytes, a shard at most 60000"):
        write_shards({"wide": torch.zeros(20_000)}, {}, tmp_path / "x.json", LIMIT)


def test_every_shard_keeps_to_its_limit(tmp_path: Path) -> None:
    tensors = {f"t{i}.{'x' * (i % 90)}": torch.zeros(1 + 37 * i % 2000) for i in range(300)}
    write_shards(tensors, {}, tmp_path / "x.json", LIMIT)
    assert max(path.stat().st_size for path in shards(tmp_path / "x.json")) <= LIMIT
    back, _ = read_shards(tmp_path / "x.json")
    assert back.keys() == tensors.keys() and all(torch.equal(back[name], t) for name, t in tensors.items())


def test_export_takes_shards_only_for_what_is_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_codec: Callable[..., Codec]
) -> None:
    assert export(make_codec(), tmp_path) == tmp_path / "tiny.safetensors"
    monkeypatch.setattr("codec.checkpoint.SHARD_BYTES", 10_000)
    assert export(make_codec(), tmp_path) == tmp_path / "tiny.json"
    assert model_id(load(tmp_path / "tiny.json")) == model_id(load(tmp_path / "tiny.safetensors"))


def test_a_file_is_loaded_only_if_it_is_the_one_meant(manifest: Path) -> None:
    digest = file_sha256(manifest)
    assert load_own(manifest, sha256=digest.upper())
    with pytest.raises(CheckpointError, match=f"SHA-256 {digest}, expected 00: another file, or damaged"):
        load_own(manifest, sha256="00")
    manifest.write_bytes(manifest.read_bytes() + b" ")
    with pytest.raises(CheckpointError, match="another file, or damaged"):
        check_sha256(manifest, digest)


def test_hashes_are_those_of_other_tools(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert file_sha256(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
