"""Index of records: the last answers, by any name, and what it needs of the disk is named."""

import sqlite3
from dataclasses import replace
from typing import Any

import pytest

from codec.errors import ConfigError
from jobs.running.record_index import RecordIndex


def test_the_last_record_answers(make_record: Any) -> None:
    first, other = (replace(make_record("a.png", 4, iters=n), cwd="/x", input_stamp="s") for n in (1, 2))
    other = replace(other, input_sha256="new")
    index = RecordIndex(iter([first, other, make_record("b.png", 4)]), lambda record: True)
    assert index.of_output("/x/a.png.rdo") == other and index.of_output("/x/c.png.rdo") is None
    assert index.of_content(first.measured.output_sha256) == first
    assert index.input_sha256("/x/a.png", "s") == "new" and index.input_sha256("/x/a.png", "t") is None


def test_a_task_is_found_where_the_picture_was_read_alike(make_record: Any) -> None:
    kept, other = make_record("a.png", 4), make_record("b.png", 5)
    index = RecordIndex([kept, other], lambda record: record == kept)
    tasks = [(r.input_sha256, r.measured.output_sha256, str(r.config_hash)) for r in (kept, other)]
    assert [index.of_task(*task) for task in tasks] == [kept, None]
    assert index.of_task(kept.input_sha256, None, str(kept.config_hash)) is None


def test_names_that_are_no_unicode_are_found(make_record: Any) -> None:
    record = replace(make_record("caf\udce9.png", 4), cwd="/x")
    assert RecordIndex([record], lambda record: True).of_output("/x/caf\udce9.png.rdo") == record


def test_a_full_disk_is_named(make_record: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = sqlite3.connect

    def small(*arguments: Any, **settings: Any) -> sqlite3.Connection:
        database = honest(*arguments, **settings)
        database.execute("pragma max_page_count = 3")
        return database

    monkeypatch.setattr(sqlite3, "connect", small)
    with pytest.raises(ConfigError, match=r"database or disk is full: .*make room where these are, or set TMPDIR"):
        RecordIndex((make_record(f"{index}.png", 4) for index in range(100)), lambda record: True)
