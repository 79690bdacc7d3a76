"""Selection of a pool by flags."""

import argparse
from typing import Any

import pytest

from codec.errors import ConfigError
from codec.model import Codec
from jobs import cli
from jobs.pools.in_process import InProcess
from jobs.pools.process import ProcessPool
from jobs.pools.selection import PoolSettings, add_pool_flags, make_pool


def parse(*flags: str) -> PoolSettings:
    parser = argparse.ArgumentParser()
    cli.add_model_flags(parser)
    add_pool_flags(parser)
    return cli.from_flags(PoolSettings, parser.parse_args(flags))


def test_defaults_of_flags_and_settings_agree() -> None:
    assert parse() == PoolSettings()


@pytest.mark.parametrize(
    ("flags", "in_workers", "device"),
    [
        ([], False, "cpu"),
        (["-j", "2"], True, "cpu"),
        (["--max-seconds-per-image", "9"], True, "cpu"),
        (["--ray"], True, "cpu"),
        (["--ray", "--gpus-per-worker", "0.5"], True, "cuda"),
        (["--ray", "--gpus-per-worker", "0.5", "--device", "cuda:1"], True, "cuda:1"),
    ],
)
def test_where_images_are_encoded(flags: list[str], in_workers: bool, device: str) -> None:
    settings = parse(*flags)
    assert (settings.in_workers, settings.worker_device) == (in_workers, device)


@pytest.mark.parametrize("change", [{"batch": 0}, {"workers": 2}, {"ray": True, "jobs": 2}, {"threads": -1}])
def test_settings_that_exclude_each_other_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="--"):
        PoolSettings(**change)


def test_no_more_processes_than_tasks(codec: Codec) -> None:
    pool = make_pool(PoolSettings(jobs=4, batch=2), codec, tasks=3)
    assert isinstance(pool, ProcessPool) and (pool.slots, pool.prefetch, pool.workers) == (6, 2, [])
    here = make_pool(PoolSettings(batch=2), codec, tasks=3)
    assert isinstance(here, InProcess) and (here.slots, here.prefetch) == (2, 0)
