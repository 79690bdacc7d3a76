"""Codecs by name: functions of one's own, entry points, and refusals that name the mend."""

import importlib.metadata
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from codec import loading
from codec.errors import CheckpointError
from codec.interface import AnyCodec
from codec.loading import load, model_distortion, own_function
from codec.model import Codec


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch, make_codec: Callable[..., Codec]) -> ModuleType:
    """A module `mine.codecs` with functions that return a codec, half of one, and none."""
    found: Any = ModuleType("mine.codecs")
    found.make = lambda: make_codec().requires_grad_(True).train()
    found.half = lambda: SimpleNamespace(config=None, level=None)
    monkeypatch.setitem(sys.modules, "mine", ModuleType("mine"))
    monkeypatch.setitem(sys.modules, "mine.codecs", found)
    return found


def test_a_function_of_ones_own_gives_a_frozen_codec(module: ModuleType) -> None:
    codec: Any = load("mine.codecs:make")
    assert isinstance(codec, Codec)
    assert not codec.training and not any(p.requires_grad for p in codec.parameters())


def test_an_entry_point_stands_for_its_function(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = importlib.metadata.EntryPoint("mine", "mine.codecs:make", "rdo.codecs")

    def entry_points(group: str, name: str) -> list[importlib.metadata.EntryPoint]:
        return [e for e in [entry] if (e.group, e.name) == (group, name)]

    monkeypatch.setattr(loading, "entry_points", entry_points)
    assert own_function("mine") == "mine.codecs:make" and isinstance(load("mine"), Codec)
    with pytest.raises(CheckpointError, match=r"other: no such model or file; installed models: .*small"):
        load("other")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_package.codecs:make", "cannot be imported: No module named 'no_such_package': install its package"),
        ("mine.codecs:lacking", "module 'mine.codecs' has no attribute 'lacking': name a function"),
        (
            "mine.codecs:half",
            "returns a SimpleNamespace, which has no analyse, .*y_bits.*: see codec.interface.AnyCodec",
        ),
    ],
)
def test_what_is_no_codec_is_refused(module: ModuleType, name: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=f"^{name}: .*{message}"):
        load(name)


@pytest.mark.parametrize(
    "name", ["small", "compressai:mbt2018-mean:3", "a/b.safetensors", "C:\\weights", "x:y:z", "x:"]
)
def test_other_names_are_no_functions(name: str) -> None:
    assert own_function(name) is None


def test_a_file_comes_before_a_function_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert own_function("mine:make") == "mine:make"
    Path("mine:make").touch()
    assert own_function("mine:make") is None


def test_a_subclass_that_lacks_a_method_cannot_be_made() -> None:
    class Half(AnyCodec):
        def state_dict(self) -> dict[str, Any]:
            return {}

    with pytest.raises(TypeError, match=r"abstract.*analyse.*y_bits"):
        Half()  # type: ignore[abstract]


def test_the_distortion_of_a_model_is_known_by_its_name(module: ModuleType, tmp_path: Path) -> None:
    assert model_distortion("small-ms-ssim") == load("small-ms-ssim").distortion == "ms_ssim"
    assert [model_distortion(name) for name in ("small", "base-skip", "compressai:mbt2018:3")] == ["mse"] * 3
    assert model_distortion(f"{module.__name__}:make") == "mse"
    with pytest.raises(CheckpointError, match="no such model or file"):
        model_distortion("smaller")
    (tmp_path / "m.safetensors").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="safetensors"):
        model_distortion(tmp_path / "m.safetensors")
