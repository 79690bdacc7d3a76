"""JSON lines: whole lines are kept, torn and foreign ones passed over."""

from pathlib import Path
from typing import Any

import pytest

from jobs import jsonl


def number(value: Any) -> int:
    return int(value["n"])


def test_lines_are_read_in_order_and_a_missing_file_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    assert jsonl.read(path, number) == []
    for n in (3, 1, 2):
        jsonl.append(path, f'{{"n": {n}}}')
    assert jsonl.read(path, number) == [3, 1, 2]
    assert path.read_bytes() == b'{"n": 3}\n{"n": 1}\n{"n": 2}\n'


@pytest.mark.parametrize("line", ["", "null", "[]", '"n"', '{"m": 1}', '{"n": "x"}', '{"n": 1', "\x00", '{"n": null}'])
def test_lines_of_another_form_are_passed_over(tmp_path: Path, line: str) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(f'{{"n": 1}}\n{line}\n{{"n": 2}}\n', encoding="utf-8")
    assert jsonl.read(path, number) == [1, 2]


@pytest.mark.parametrize("cut", range(1, 9))
def test_a_line_after_a_torn_one_is_kept(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"n": 1}'[:cut])
    jsonl.append(path, '{"n": 2}')
    assert jsonl.read(path, number) == ([1, 2] if cut == 8 else [2])


def test_line_ends_of_other_systems_are_read(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"n": 1}\r\n{"n": 2}\r\n')
    assert jsonl.read(path, number) == [1, 2]
