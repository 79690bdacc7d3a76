"""Resuming: a refinement that was cut at any step ends at the latents of one that was not."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from codec.images.pixels import Pixels, to_tensor
from codec.interface import Latents
from codec.model import Codec
from rdo import RefineConfig, Refined, refine, resuming
from rdo.encoding import encode_pictures
from rdo.resuming import refinement_key
from rdo.target import Goal
from rdo.target_search import refine_to
from rdo.tune import tune_of

CONFIGS = {
    "rdoq": RefineConfig(iters=14),
    "rdoq, patient": RefineConfig(iters=14, patience=30, move_fraction_end=0.2),
    "sga": RefineConfig(iters=12, method="sga", lr_y=0.05, checks=4),
    "with a tail": RefineConfig(iters=14, method="linear", lr_y=0.05, tail=0.4),
    "ste": RefineConfig(iters=9, method="ste", lr_y=0.05),
}


@pytest.fixture(scope="module")
def x(photo: Callable[..., Any]) -> Tensor:
    return to_tensor(Pixels(photo(70, 90), grey=False))


def run(codec: Codec, x: Tensor, config: RefineConfig, store: Any = None, cut: int | None = None) -> Refined:
    """Refine; `cut` interrupts a step, after its number was told."""

    def progress(step: int) -> None:
        if step == cut:
            raise KeyboardInterrupt

    return refine(codec, x, 4.0, config=config, lmbda=1e-4, progress=progress, store=store)


def same(a: Latents, b: Latents) -> bool:
    return torch.equal(a.y, b.y) and torch.equal(a.z, b.z)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_cut_anywhere_it_ends_the_same(tiny_codec: Codec, x: Tensor, store: Any, config: RefineConfig) -> None:
    whole = run(tiny_codec, x, config)
    assert whole.resumed_step is None
    for cut in range(2, config.iters):
        own = copy.copy(store)
        with pytest.raises(KeyboardInterrupt):
            run(tiny_codec, x, config, own, cut)
        resumed = run(tiny_codec, x, config, own)
        assert resumed.resumed_step in (cut - 1, cut) and resumed.iters == config.iters
        assert same(resumed.latents, whole.latents), f"cut in step {cut}"
        assert torch.equal(resumed.cost_est.total, whole.cost_est.total)


def test_cut_again_and_again_it_ends_the_same(tiny_codec: Codec, x: Tensor, store: Any) -> None:
    for config in (CONFIGS["rdoq"], CONFIGS["with a tail"]):
        own, seconds = copy.copy(store), 0.0
        for cut in (3, 4, 7, 11, 13):
            with pytest.raises(KeyboardInterrupt):
                run(tiny_codec, x, config, own, cut)
        found = run(tiny_codec, x, config, own)
        assert same(found.latents, run(tiny_codec, x, config).latents) and found.seconds > seconds


def test_a_kill_loses_what_came_after_the_last_save(
    tiny_codec: Codec, x: Tensor, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL raises nothing: what the store holds between two saves is all there is."""
    monkeypatch.setattr(resuming, "INTERVAL_S", 0.0)
    config, seen = CONFIGS["rdoq"], list[bytes]()
    refine(
        tiny_codec, x, 4.0, config=config, lmbda=1e-4, progress=lambda s: seen.append(store.data or b""), store=store
    )
    assert store.writes == config.iters + 1  # the last is the result
    whole = run(tiny_codec, x, config)
    for data in (seen[5], seen[-1], store.data):
        killed = copy.copy(store)
        killed.data = data
        assert same(run(tiny_codec, x, config, killed).latents, whole.latents)


def test_saves_are_rare_and_short_runs_save_nothing(tiny_codec: Codec, x: Tensor, store: Any) -> None:
    run(tiny_codec, x, CONFIGS["rdoq"], store)
    assert store.writes == 0


@pytest.mark.parametrize(
    "other", [{"iters": 15}, {"seed": 1}, {"method": "sga"}, {"temperature_bits": 1.0}], ids=lambda o: next(iter(o))
)
def test_other_settings_begin_anew(tiny_codec: Codec, x: Tensor, store: Any, other: dict[str, Any]) -> None:
    config = CONFIGS["rdoq"]
    with pytest.raises(KeyboardInterrupt):
        run(tiny_codec, x, config, store, 5)
    changed = replace(config, **other)
    assert run(tiny_codec, x, changed, copy.copy(store)).resumed_step is None
    roomier = replace(config, time_budget=1e6, memory_gib=1e3, strip_pixels=10**9)
    assert run(tiny_codec, x, roomier, store).resumed_step == 4


@pytest.mark.parametrize("data", [b"", b"torn", b"\x08\0\0\0\0\0\0\0{}      ", b"\xff" * 40])
def test_a_store_of_something_else_is_none(tiny_codec: Codec, x: Tensor, store: Any, data: bytes) -> None:
    store.data = data
    assert run(tiny_codec, x, CONFIGS["rdoq"], store).resumed_step is None


def test_seconds_of_before_count_against_the_budget(tiny_codec: Codec, x: Tensor, store: Any) -> None:
    config = replace(CONFIGS["rdoq"], time_budget=1e3)
    with pytest.raises(KeyboardInterrupt):
        run(tiny_codec, x, config, store, 5)
    spent = replace(config, time_budget=1e-3)
    assert run(tiny_codec, x, spent, store).iters <= 5


def test_a_search_for_a_target_goes_on_in_the_refinement_it_was_in(
    small: Codec, photo: Callable[..., Any], store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resuming, "INTERVAL_S", 0.0)
    x, config, steps = to_tensor(Pixels(photo(64, 96), grey=False)), RefineConfig(iters=8), list[int]()
    goal = Goal("psnr", 36.0)
    whole = refine_to(small, x, goal, config=config)

    def progress(step: int) -> None:
        steps.append(step)
        if step == 6 and len(steps) < 7:  # two are those of the first, short refinement
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        refine_to(small, x, goal, config=config, progress=progress, store=store)
    found = refine_to(small, x, goal, config=config, progress=progress, store=store)
    assert same(found.refined.latents, whole.refined.latents) and found.refined.resumed_step == 3
    assert len(steps) < whole.refined.iters + 6


TILES = 4


@pytest.mark.parametrize("method", ["rdoq", "sga"])
@pytest.mark.parametrize("patience", [0, 1])
def test_a_picture_of_several_tiles_goes_on_at_the_next_tile(
    tiny_codec: Codec, photo: Callable[..., Any], store: Any, method: str, patience: int
) -> None:
    config = RefineConfig(iters=5, method=method, lr_y=0.05, patience=patience)
    pixels = Pixels(photo(256, 300), grey=False)

    def refined(own: Any = None, cut: int | None = None) -> Refined:
        steps = 0

        def progress(step: int) -> None:
            nonlocal steps
            steps += 1
            if steps == cut:
                raise KeyboardInterrupt

        tune = tune_of("mse", tiny_codec)
        [found] = encode_pictures(
            tiny_codec, [pixels], tune=tune, lmbda=1e-3, config=config, tile=128, progress=progress, store=own
        )
        return found.refined

    whole, early = refined(), store
    assert whole.resumed_step is None and whole.iters == 5
    for cut in (2, 4, 7, 12, 14, 18):
        own = copy.copy(store)
        with pytest.raises(KeyboardInterrupt):
            refined(own, cut)
        early = copy.copy(own) if cut == 4 else early
        resumed = refined(own)
        assert (resumed.resumed_step is None) == (cut <= 3), "nothing is saved before the first tile is done"
        assert same(resumed.latents, whole.latents) and resumed.iters == whole.iters
        assert torch.equal(resumed.cost_est.total, whole.cost_est.total)
    config = replace(config, time_budget=1e-3)
    assert refined(early).iters < whole.iters, "seconds of before count against the budget"


def test_the_result_of_several_tiles_is_kept_until_its_file_is_written(
    tiny_codec: Codec, photo: Callable[..., Any], store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resuming, "INTERVAL_S", 0.0)
    pixels, steps = Pixels(photo(256, 300), grey=False), list[int]()
    found = [
        encode_pictures(
            tiny_codec, [pixels], tune=tune_of("mse", tiny_codec), lmbda=1e-3, config=RefineConfig(iters=5), tile=128,
            progress=steps.append, store=store,
        )[0]
        for _ in range(2)
    ]  # fmt: skip
    assert len(steps) == 5 * TILES, "the second run takes no step"
    assert found[0].file.data == found[1].file.data and found[1].refined.resumed_step == 5


def test_keys_tell_refinements_apart() -> None:
    keys = {
        refinement_key(config, level=level, lmbda=lmbda)
        for config in CONFIGS.values()
        for level in (1.0, 2.0)
        for lmbda in (0.01, 0.02)
    }
    assert len(keys) == 4 * len(CONFIGS)
