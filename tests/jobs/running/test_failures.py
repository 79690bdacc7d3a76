"""Failures in a run: what is on disk and in the records after a full disk, Ctrl-C, no memory, or an error of ours."""

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import codec.tiling
import rdo.encoding
from codec.errors import ConfigError
from jobs.running.failures import explain, is_out_of_memory
from rdo import RefineConfig


def leftovers(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.name.endswith(".part")]


def names(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*.rdo")}


def statuses(text: str) -> list[str]:
    return [json.loads(line)["status"] for line in text.splitlines()]


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_full_disk_leaves_no_half_file_and_the_run_goes_on(
    save_photo, rdo_encode, records, monkeypatch, folder: Path, capsys
) -> None:
    save_photo("in/big.png", 30, 30)
    save_photo("in/small.png", 20, 20)
    calls = []

    def fsync(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 1:  # the largest picture comes first
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("codec.files.os", SimpleNamespace(fsync=fsync, getpid=os.getpid))
        assert rdo_encode("--iters", 0, "in") == 1
    assert names(folder) == {"rdo-out/small.png.rdo"} and not leftovers(folder) and len(calls) == 2
    failed = records()["rdo-out/big.png.rdo"]
    assert failed["status"] == "failed"
    assert failed["error"].startswith("No space left on device")
    assert "in/big.png: No space left on device" in capsys.readouterr().err
    assert rdo_encode("--iters", 0, "in") == 0
    assert names(folder) == {"rdo-out/small.png.rdo", "rdo-out/big.png.rdo"}


def test_a_picture_that_could_not_be_written_has_no_scores(save_photo, rdo_encode, records, capsys) -> None:
    save_photo("in/a.png", 10, 10)
    Path("rdo-out/a.png.rdo").mkdir(parents=True)
    assert rdo_encode("--iters", 0, "--overwrite", "in") == 1
    record = records()["rdo-out/a.png.rdo"]
    assert (record["status"], record["plain"], record["refined"]) == ("failed", None, None)
    assert record["verified"] is False and capsys.readouterr().out.count("in/a.png") == 1


def test_an_output_folder_that_cannot_be_is_one_line(save_photo, rdo_encode, capsys) -> None:
    save_photo("in/a.png", 10, 10)
    Path("taken").write_text("a file")
    assert rdo_encode("--iters", 0, "-o", "taken", "in") == 2
    assert "-o taken: a file has this name" in capsys.readouterr().err and Path("taken").read_text() == "a file"
    assert rdo_encode("--iters", 0, "-o", "taken.png", "in") == 2
    assert "-o taken.png: name a folder, or one file that ends in .rdo" in capsys.readouterr().err


def test_ctrl_c_keeps_what_is_done(save_photo, rdo_encode, monkeypatch, folder: Path, records, capsys) -> None:
    save_photo("in/big.png", 30, 30)
    save_photo("in/mid.png", 25, 25)
    save_photo("in/small.png", 20, 20)
    honest, calls = rdo.encoding.refine, []

    def refine(*args: Any, **settings: Any) -> Any:
        calls.append(args)
        return honest(*args, **settings) if len(calls) == 1 else interrupt()

    monkeypatch.setattr(rdo.encoding, "refine", refine)
    assert rdo_encode("--iters", 0, "in") == 130
    assert names(folder) == {"rdo-out/big.png.rdo"} == set(records()) and not leftovers(folder)
    assert "interrupted" in capsys.readouterr().err
    monkeypatch.setattr(rdo.encoding, "refine", honest)
    assert rdo_encode("--iters", 0, "--json", "in") == 0
    assert statuses(capsys.readouterr().out) == ["skipped", "done", "done"]


def test_a_file_that_decodes_to_others_symbols_is_not_written(save_photo, rdo_encode, monkeypatch, folder) -> None:
    honest = codec.tiling._decoded_tile

    def decode_wrongly(*args: Any) -> Any:
        latents = honest(*args)
        latents.y[0, 0, 0, 0] += 1
        return latents

    monkeypatch.setattr(codec.tiling, "_decoded_tile", decode_wrongly)
    assert rdo_encode("--iters", 0, save_photo("a.png", 10, 10)) == 1
    assert not names(folder)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(28, "No space left on device"), "No space left on device: check the disk and the permissions"),
        (MemoryError(), "out of memory: "),
        (ConfigError("quality 9: too high"), "quality 9: too high"),
    ],
)
def test_errors_are_explained_in_a_line(error: Exception, text: str) -> None:
    assert explain(error).startswith(text) and "\n" not in explain(error)


def test_out_of_memory_is_that_pictures_verdict(save_photo, rdo_encode, monkeypatch, folder: Path) -> None:
    save_photo("in/big.png", 30, 30)
    save_photo("in/small.png", 20, 20)
    honest = rdo.encoding.refine

    def refine(codec: Any, x: Any, quality: float, **settings: Any) -> Any:
        if x.shape[-1] == 30:
            x.new_empty(10**15)  # what torch raises where a tensor does not fit
        return honest(codec, x, quality, **settings)

    monkeypatch.setattr(rdo.encoding, "refine", refine)
    assert rdo_encode("--iters", 0, "in") == 1
    assert names(folder) == {"rdo-out/small.png.rdo"}


@pytest.mark.parametrize(("iters", "status", "tried"), [(1, 0, [None, 520 * 520 // 4]), (0, 1, [None])])
def test_out_of_memory_is_tried_again_in_narrow_strips(
    iters: int, status: int, tried: list[int | None], save_photo, rdo_encode, monkeypatch
) -> None:
    honest, strips = rdo.encoding.refine, []

    def refine(codec: Any, x: Any, quality: float, *, config: RefineConfig, **settings: Any) -> Any:
        strips.append(config.strip_pixels)
        if config.strip_pixels is None:
            x.new_empty(10**15)
        return honest(codec, x, quality, config=config, **settings)

    monkeypatch.setattr(rdo.encoding, "refine", refine)
    assert rdo_encode("--iters", iters, save_photo("a.png", 520, 520)) == status
    assert strips == tried


@pytest.mark.parametrize(
    "text", ["CUDA error: out of memory", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"]
)
def test_memory_runs_out_in_many_words(text: str) -> None:
    assert is_out_of_memory(RuntimeError(text))
    try:
        try:
            raise torch.OutOfMemoryError
        finally:
            raise RuntimeError("operation failed due to a previous error during capture")
    except RuntimeError as error:
        assert is_out_of_memory(error)
    assert not is_out_of_memory(RuntimeError("shapes do not match"))


@pytest.mark.parametrize("error", [RuntimeError("shapes do not match"), ZeroDivisionError("division by zero")])
def test_our_own_mistakes_are_that_pictures_verdict(save_photo, rdo_encode, monkeypatch, folder, capsys, error) -> None:
    save_photo("in/big.png", 30, 30)
    save_photo("in/small.png", 20, 20)
    honest = rdo.encoding.refine

    def refine(codec: Any, x: Any, quality: float, **settings: Any) -> Any:
        if x.shape[-1] == 30:
            raise error
        return honest(codec, x, quality, **settings)

    monkeypatch.setattr(rdo.encoding, "refine", refine)
    assert rdo_encode("--iters", 0, "in") == 1
    assert f"in/big.png: {type(error).__name__}: {error}: please report" in capsys.readouterr().err
    assert names(folder) == {"rdo-out/small.png.rdo"}
