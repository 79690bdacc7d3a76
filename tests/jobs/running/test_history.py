"""History: done images are found without reading each one; two runs never share a folder."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from codec.errors import ConfigError
from jobs.record import read_records
from jobs.running import history
from jobs.running.history import file_stamp
from jobs.running.record_log import sole_writer


def age(path: Path) -> None:
    """Let a file be old: its clock is put back, and what that changed is waited out."""
    os.utime(path, (1e9, 1e9))
    time.sleep(max(0.0, history.STAMP_AGE_S - time.time() + path.stat().st_ctime + 0.01))


def test_a_stamp_tells_files_apart_that_differ_in_size_or_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "a"
    path.write_bytes(b"one")
    assert file_stamp(path) is None  # may still change within one tick of the clock
    assert file_stamp(folder / "missing") is None
    monkeypatch.setattr(history, "STAMP_AGE_S", -1.0)
    before = file_stamp(path)
    assert before is not None and before == file_stamp(path)
    path.write_bytes(b"two!")
    assert file_stamp(path) != before
    same_size = file_stamp(path)
    time.sleep(0.02)
    path.write_bytes(b"too!")
    os.utime(path, ns=(0, int(str(same_size).split("-")[1])))  # a forged time: the change of it is seen
    assert file_stamp(path) not in (before, same_size)


def test_a_picture_that_stayed_is_not_read_again_and_its_file_is(
    save_photo: Any, rdo_encode: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    source = save_photo("in/a.png", 10, 10)
    age(source)
    assert rdo_encode("--iters", 0, "in") == 0
    [record] = read_records(Path("rdo-out/results.jsonl"))
    assert record.input_stamp == file_stamp(source) is not None
    read, honest = list[str](), history._sha256
    monkeypatch.setattr(history, "_sha256", lambda name: read.append(name) or honest(name))
    assert rdo_encode("--iters", 0, "in") == 0
    assert "1 of 1 were done before" in capsys.readouterr().out and read == ["rdo-out/a.png.rdo"]

    os.utime(source)  # touched, and the same all the same
    assert rdo_encode("--iters", 0, "in") == 0
    assert "1 of 1 were done before" in capsys.readouterr().out and str(source.relative_to(Path.cwd())) in read


def test_records_of_before_stamps_are_matched_by_hash(save_photo: Any, rdo_encode: Any, capsys: Any) -> None:
    save_photo("in/a.png", 10, 10)
    assert rdo_encode("--iters", 0, "in") == 0
    log = Path("rdo-out/results.jsonl")
    assert read_records(log)[0].input_stamp is None  # the picture was written just before
    assert rdo_encode("--iters", 0, "in") == 0 and "1 of 1 were done before" in capsys.readouterr().out


def test_a_second_run_into_one_folder_is_refused_and_nothing_is_touched(
    save_photo: Any, rdo_encode: Any, capsys: Any
) -> None:
    save_photo("in/a.png", 10, 10)
    assert rdo_encode("--iters", 0, "in") == 0
    before = {p: p.read_bytes() for p in Path("rdo-out").iterdir()}
    with sole_writer(Path("rdo-out/results.jsonl")):
        assert rdo_encode("--iters", 1, "in") == 2
        assert "rdo-out: another run writes here: wait for its end" in capsys.readouterr().err
        assert rdo_encode("--iters", 0, "-o", "other", "in") == 0
    assert {p: p.read_bytes() for p in Path("rdo-out").iterdir()} == before
    assert rdo_encode("--iters", 1, "in") == 0


def test_the_lock_goes_with_its_holder(folder: Path) -> None:
    with sole_writer(folder / "results.jsonl"), pytest.raises(ConfigError), sole_writer(folder / "results.jsonl"):
        pass
    with sole_writer(folder / "results.jsonl"):
        pass


def test_times_in_the_future_are_no_stamps_and_the_run_goes_by_content(
    save_photo: Any, rdo_encode: Any, capsys: Any
) -> None:
    """A camera's or a server's clock may be ahead of this one, or this one may have been put back."""
    source = save_photo("in/a.png", 10, 10)
    os.utime(source, (4e9, 4e9))
    assert file_stamp(source) is None
    assert rdo_encode("--iters", 0, "in") == rdo_encode("--iters", 0, "in") == 0
    assert "1 of 1 were done before" in capsys.readouterr().out
    save_photo("in/a.png", 10, 10, seed=1)
    os.utime(source, (4e9, 4e9))
    assert rdo_encode("--iters", 0, "in") == 0
    assert "were done before" not in capsys.readouterr().out
