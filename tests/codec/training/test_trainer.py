"""Training on a laptop's scale: the loss falls, runs resume bit for bit, and non-finite gradients are survived."""

import io
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from codec.architecture import ModelConfig, lmbda_of
from codec.errors import CheckpointError, ConfigError
from codec.model import Codec
from codec.training import trainer as training
from codec.training.dataset import DeviceCrops
from codec.training.loss import Batch, Loss, straight_through, training_loss, uniform_noise
from codec.training.schedule import Phase, TrainConfig, lr_factor
from codec.training.trainer import BAD_STEPS_MAX, CHECK_EVERY, ROLLBACKS_MAX, STATE_FILE, Trainer
from codec.training.validation import validate

Photo = Callable[..., NDArray[np.uint8]]
Fresh = Callable[..., Codec]
SHORT = TrainConfig(steps=6, crop=64, batch=2, warmup=2)


@pytest.fixture(scope="module")
def photos(photo: Photo) -> list[np.ndarray]:
    return [photo(96, 128, seed) for seed in range(3)]


@pytest.fixture(scope="module")
def album(photos: list[np.ndarray]) -> DeviceCrops:
    return DeviceCrops(photos, torch.device("cpu"))


@pytest.fixture(scope="module")
def fresh(tiny_config: Callable[..., ModelConfig]) -> Fresh:
    """Return a factory of untrained codecs, as a run starts with."""

    def make(seed: int = 0, **changes: object) -> Codec:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return Codec(tiny_config(**changes))

    return make


def nothing(trainer: Trainer, loss: Loss) -> None:
    """Report nothing after a step."""


def snapshot(trainer: Trainer) -> Iterator[Tensor]:
    """Yield every tensor of a run's state."""
    yield from (t.clone() for t in trainer.codec.state_dict().values())
    yield from (t.clone() for t in trainer.average.values())
    yield from (t.clone() for t in moments(trainer))


def moments(trainer: Trainer) -> list[Tensor]:
    """Return the optimiser's state of each parameter."""
    return [torch.as_tensor(v) for state in trainer.optimiser.state_dict()["state"].values() for v in state.values()]


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_the_loss_falls(fresh: Fresh, album: DeviceCrops, tmp_path: Path) -> None:
    losses = []
    config = TrainConfig(steps=30, crop=64, batch=2, warmup=3, quality_range=(4, 4), lr_linear=1e-3)
    trainer = Trainer(fresh(), album, config, tmp_path)
    trainer.run(lambda _, loss: losses.append(float(loss.weighted.detach())))
    assert trainer.step == len(losses) == 30 and trainer.progress == 1
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


def test_a_resumed_run_is_the_unbroken_one_bit_for_bit(fresh: Fresh, album: DeviceCrops, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("unbroken", "broken")]
    for folder in folders:
        folder.mkdir()
    unbroken = Trainer(fresh(), album, SHORT, folders[0])
    unbroken.run(nothing)
    first = Trainer(fresh(), album, SHORT, folders[1])
    first.run(nothing, pause=lambda: first.step == 3)
    assert first.step == 3 and not same(list(snapshot(first)), list(snapshot(unbroken)))
    second = Trainer(fresh(seed=9), album, SHORT, folders[1])  # other weights: the state must replace them all
    assert second.step == 3 and same(list(snapshot(second)), list(snapshot(first)))
    second.run(nothing)
    assert second.step == unbroken.step == 6
    assert same(list(snapshot(second)), list(snapshot(unbroken)))


def test_a_resumed_run_has_its_own_weight_decay(fresh: Fresh, album: DeviceCrops, tmp_path: Path) -> None:
    Trainer(fresh(), album, SHORT, tmp_path).run(nothing)
    resumed = Trainer(fresh(), album, replace(SHORT, weight_decay=0.3), tmp_path)
    assert resumed.step == 6 and {group["weight_decay"] for group in resumed.optimiser.param_groups} == {0.3}


def test_a_stage_without_context_trains_all_else(fresh: Fresh, album: DeviceCrops, tmp_path: Path) -> None:
    def weights(trainer: Trainer) -> dict[str, Tensor]:
        return {name: p.detach().clone() for name, p in trainer.codec.named_parameters()}

    def moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
        return {name for name, p in before.items() if not torch.equal(p, after[name])}

    config = replace(SHORT, phases=(Phase(context=False), Phase()))
    trainer = Trainer(fresh(), album, config, tmp_path)
    start = weights(trainer)
    trainer.run(nothing, pause=lambda: trainer.step == 3)
    staged = Trainer(fresh(seed=9), album, config, tmp_path)  # resumed between the stages
    half = weights(staged)
    staged.run(nothing)
    context = {name for name in start if name.startswith("context") and not name.startswith("context.head.")}
    context |= {"context.head.context.weight", "context.head.context.bias"}
    first = moved(start, half)
    assert first and not first & context and moved(half, weights(staged)) == first | context


def test_a_run_saves_on_the_way(fresh: Fresh, album: DeviceCrops, tmp_path: Path) -> None:
    class KilledError(Exception):
        """Stop the run without a last save, like a signal."""

    def kill(trainer: Trainer, loss: Loss) -> None:
        if trainer.step == 3:
            raise KilledError

    config = TrainConfig(steps=6, crop=64, batch=1, save_every=0)
    with pytest.raises(KilledError):
        Trainer(fresh(), album, config, tmp_path).run(kill)
    assert Trainer(fresh(), album, config, tmp_path).step == 2
    assert [p.name for p in tmp_path.iterdir()] == [STATE_FILE]


def test_a_resumed_run_takes_its_own_learning_rates(fresh: Fresh, album: DeviceCrops, tmp_path: Path) -> None:
    Trainer(fresh(), album, SHORT, tmp_path).save()
    slower = TrainConfig(steps=6, crop=64, batch=2, lr=1e-4, lr_transform=2e-5, lr_linear=3e-6)
    peaks = [group["peak"] for group in Trainer(fresh(), album, slower, tmp_path).optimiser.param_groups]
    assert peaks == [1e-4, 2e-5, 3e-6]


def spoil(trainer: Trainer, steps: set[int], bad: float = math.nan) -> None:
    """Make the loss of these steps not finite."""
    honest = trainer.objective

    def spoiled(*inputs: object) -> Loss:
        loss = honest(*inputs)
        return loss._replace(weighted=loss.weighted * bad) if trainer.step in steps else loss

    trainer.objective = spoiled


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_changes_nothing(
    fresh: Fresh, album: DeviceCrops, tmp_path: Path, bad: float
) -> None:
    trainer = Trainer(fresh(), album, SHORT, tmp_path)
    spoil(trainer, {1}, bad)
    trainer.train_step()
    before = [t.clone() for t in (*trainer.codec.state_dict().values(), *moments(trainer))]
    trainer.train_step()
    assert same([*trainer.codec.state_dict().values(), *moments(trainer)], before)
    assert (trainer.step, int(trainer.bad_steps)) == (2, 1)
    assert all(bool(t.isfinite().all()) for t in trainer.average.values())
    trainer.train_step()
    assert not same([*trainer.codec.state_dict().values(), *moments(trainer)], before)
    assert int(trainer.bad_steps) == 0


def test_a_run_that_meets_only_bad_steps_goes_back_and_on_at_half_the_rates(
    fresh: Fresh, album: DeviceCrops, tmp_path: Path
) -> None:
    config = TrainConfig(steps=80, crop=64, batch=1, warmup=0, save_every=0)
    trainer = Trainer(fresh(), album, config, tmp_path)
    good: list[Tensor] = []

    def watch(trainer: Trainer, loss: Loss) -> None:
        if trainer.step == 5 and not good:
            good.extend(snapshot(trainer))
            spoil(trainer, set(range(5, 5 + BAD_STEPS_MAX + CHECK_EVERY)))

    trainer.run(watch, pause=lambda: trainer.rollbacks == 1)
    assert trainer.step == 5 and same(list(snapshot(trainer)), good)
    resumed = Trainer(fresh(seed=3), album, config, tmp_path)
    assert (resumed.step, resumed.rollbacks) == (5, 1)
    resumed.train_step()
    assert resumed.optimiser.param_groups[0]["lr"] == pytest.approx(config.lr * lr_factor(config, 5, 5 / 80) / 2)


def test_a_pause_amid_bad_steps_keeps_the_good_state(fresh: Fresh, album: DeviceCrops, tmp_path: Path) -> None:
    config = TrainConfig(steps=80, crop=64, batch=1, warmup=0, save_every=0)
    trainer = Trainer(fresh(), album, config, tmp_path)
    trainer.run(nothing, pause=lambda: trainer.step == 5)
    good = list(snapshot(trainer))
    spoil(trainer, set(range(5, 80)))
    trainer.run(nothing, pause=lambda: trainer.step == 7)
    resumed = Trainer(fresh(seed=3), album, config, tmp_path)
    assert (resumed.step, int(resumed.bad_steps)) == (5, 0) and same(list(snapshot(resumed)), good)


def test_training_gives_up_when_going_back_does_not_help(
    fresh: Fresh, album: DeviceCrops, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "BAD_STEPS_MAX", 3)
    monkeypatch.setattr(training, "CHECK_EVERY", 3)
    trainer = Trainer(fresh(), album, TrainConfig(steps=1000, crop=64, batch=1), tmp_path)
    spoil(trainer, set(range(1000)))
    with pytest.raises(ConfigError, match="lower the learning rates"):
        trainer.run(nothing)
    assert trainer.rollbacks == ROLLBACKS_MAX and trainer.step == 3
    assert all(bool(t.isfinite().all()) for t in trainer.codec.parameters())


def test_a_batch_too_large_for_memory_is_cut_and_gives_the_same_step(
    fresh: Fresh, album: DeviceCrops, tmp_path: Path
) -> None:
    folders = [tmp_path / name for name in ("roomy", "cramped")]
    for folder in folders:
        folder.mkdir()
    config = TrainConfig(steps=2, crop=64, batch=5)
    roomy, cramped = (Trainer(fresh(), album, config, folder) for folder in folders)
    honest, sizes = cramped.objective, []

    def too_large(batch: Batch, *inputs: object) -> Loss:
        sizes.append(len(batch.x))
        if len(batch.x) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return honest(batch, *inputs)

    cramped.objective = too_large
    whole, cut = roomy.train_step(), cramped.train_step()
    assert sizes == [5, 3, 2, 2, 1] and cramped.micro_batches == 4
    torch.testing.assert_close(torch.stack(cut), torch.stack(whole), rtol=1e-5, atol=0)
    gradients = ([p.grad for p in t.codec.parameters() if p.grad is not None] for t in (roomy, cramped))
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-6)


class NoWaiting(TorchDispatchMode):
    """Dispatch mode that fails where a value is fetched from the device, as the host would wait there."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        name = str(function)
        assert "_local_scalar_dense" not in name and "nonzero" not in name, f"{name} waits for the device"
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("transform", ["klt", "paper"])
def test_a_step_fetches_nothing_from_the_device(
    tiny_config: Callable[..., ModelConfig], album: DeviceCrops, tmp_path: Path, transform: str
) -> None:
    trainer = Trainer(Codec(tiny_config(transform=transform)), album, SHORT, tmp_path)
    trainer.train_step()  # the first one makes the optimiser's state
    with NoWaiting():
        trainer.train_step()
    with NoWaiting(), pytest.raises(AssertionError, match="waits for the device"):
        trainer._roll_back_if_diverged()


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
@pytest.mark.parametrize("transform", ["klt", "paper"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_step_on_a_gpu_never_waits(
    fresh: Fresh, photos: list[np.ndarray], tmp_path: Path, transform: str, precision: str
) -> None:
    device = torch.device("cuda")
    config = TrainConfig(steps=6, crop=64, batch=2, warmup=2, precision=precision)  # type: ignore[arg-type]
    trainer = Trainer(fresh(transform=transform).to(device), DeviceCrops(photos, device), config, tmp_path)
    trainer.train_step()
    try:
        torch.cuda.set_sync_debug_mode("error")
        trainer.train_step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert int(trainer.bad_steps) == 0 and trainer.step == 2


@pytest.mark.gpu
def test_a_state_moves_between_cpu_and_gpu(
    fresh: Fresh, photos: list[np.ndarray], album: DeviceCrops, tmp_path: Path
) -> None:
    device = torch.device("cuda")
    first = Trainer(fresh(), album, SHORT, tmp_path)
    first.run(nothing, pause=lambda: first.step == 2)
    second = Trainer(fresh(seed=5).to(device), DeviceCrops(photos, device), SHORT, tmp_path)
    second.run(nothing, pause=lambda: second.step == 4)
    third = Trainer(fresh(seed=6), album, SHORT, tmp_path)
    third.run(nothing)
    assert third.step == 6 and all(bool(t.isfinite().all()) for t in third.codec.parameters())


def test_one_crop_too_large_for_memory_is_a_message(fresh: Fresh, album: DeviceCrops, tmp_path: Path) -> None:
    trainer = Trainer(fresh(), album, SHORT, tmp_path)

    def too_large(*inputs: object) -> Loss:
        raise torch.OutOfMemoryError("CUDA out of memory")

    trainer.objective = too_large
    with pytest.raises(ConfigError, match="out of memory: take a smaller --batch or --crop"):
        trainer.train_step()


@pytest.mark.parametrize("damage", ["empty", "cut", "noise", "flipped", "other model", "not a state"])
def test_a_corrupt_state_is_refused(fresh: Fresh, album: DeviceCrops, tmp_path: Path, damage: str) -> None:
    Trainer(fresh(hyper_width=4 if damage == "other model" else 8), album, SHORT, tmp_path).save()
    path = tmp_path / STATE_FILE
    data = path.read_bytes()
    buffer = io.BytesIO()
    torch.save([1, 2, 3], buffer)
    path.write_bytes(
        {
            "empty": b"",
            "cut": data[: len(data) // 2],
            "noise": bytes(range(256)) * 40,
            "flipped": data[:40] + bytes(b ^ 255 for b in data[40:400]) + data[400:],
            "other model": data,
            "not a state": buffer.getvalue(),
        }[damage]
    )
    with pytest.raises(CheckpointError, match=r"(?s)state\.pt: cannot be resumed: .*; move it away to start anew"):
        Trainer(fresh(), album, SHORT, tmp_path)


def test_a_flipped_byte_of_a_state_is_refused(fresh: Fresh, album: DeviceCrops, tmp_path: Path) -> None:
    trainer = Trainer(fresh(), album, SHORT, tmp_path)
    trainer.save()
    path = tmp_path / STATE_FILE
    data = path.read_bytes()
    for at in range(1000, len(data), len(data) // 20):
        path.write_bytes(data[:at] + bytes([data[at] ^ 16]) + data[at + 1 :])
        with pytest.raises(CheckpointError):
            trainer.load(path)


def test_a_state_of_another_architecture_is_named(fresh: Fresh, album: DeviceCrops, tmp_path: Path) -> None:
    Trainer(fresh(), album, SHORT, tmp_path).save()
    with pytest.raises(CheckpointError, match="its architecture is not that of tiny: g_a"):
        Trainer(fresh(width=12), album, SHORT, tmp_path)


@pytest.mark.parametrize("lacking", ["average", "step", "elapsed"])
def test_a_state_that_lacks_a_part_is_refused(fresh: Fresh, album: DeviceCrops, tmp_path: Path, lacking: str) -> None:
    Trainer(fresh(), album, SHORT, tmp_path).save()
    state = torch.load(tmp_path / STATE_FILE, weights_only=True)
    del state[lacking]
    torch.save(state, tmp_path / STATE_FILE)
    with pytest.raises(CheckpointError):
        Trainer(fresh(), album, SHORT, tmp_path)


def test_validate_gives_finite_rows_that_add_up(tiny_codec: Codec, photos: list[np.ndarray]) -> None:
    rows = validate(tiny_codec, [photos[0][:70, :90]], (1.0, 4.5, 8.0))
    assert [row.quality for row in rows] == [1.0, 4.5, 8.0]
    for row in rows:
        assert all(math.isfinite(v) for v in row) and row.bpp_est > 0
        mse = 255**2 / 10 ** (row.psnr_db / 10)
        assert row.cost_est == pytest.approx(row.bpp_est + lmbda_of(row.quality) * mse, rel=1e-5)
    assert rows[0].bpp_est < rows[1].bpp_est < rows[2].bpp_est


def test_averaged_weights_lag_behind(fresh: Fresh, album: DeviceCrops, tmp_path: Path) -> None:
    trainer = Trainer(fresh(), album, SHORT, tmp_path)
    start = trainer.codec.log_gain.table.detach().clone()
    trainer.run(nothing)
    average = trainer.averaged_codec()
    assert not average.training and not any(p.requires_grad for p in average.parameters())
    moved = (trainer.codec.log_gain.table - start).detach().abs().sum()
    assert 0 < float((average.log_gain.table - start).abs().sum()) < float(moved)


@pytest.fixture(scope="module")
def batch(photos: list[np.ndarray], fresh: Fresh) -> Batch:
    x = torch.from_numpy(photos[0][:64, :64]).permute(2, 0, 1)[None].repeat(2, 1, 1, 1) / 255
    lmbda = torch.tensor([lmbda_of(2), lmbda_of(6.5)])
    noise = uniform_noise(fresh(), x, torch.Generator().manual_seed(0))
    return Batch(x, torch.tensor([2.0, 6.5]), lmbda, *noise)


def test_every_parameter_that_is_used_gets_a_gradient(fresh: Fresh, batch: Batch) -> None:
    codec = fresh()
    loss = training_loss(codec, batch)
    loss.weighted.backward()
    silent = {name for name, p in codec.named_parameters() if p.grad is None}
    assert silent == {"prior.quantiles"}
    lmbda = np.array([lmbda_of(2), lmbda_of(6.5)])
    weighted, bpp, mse = (float(part.detach()) for part in loss)
    assert min(bpp, mse) > 0
    assert bpp * lmbda.max() ** -0.5 + mse * lmbda.min() ** 0.5 < weighted
    assert weighted < bpp * lmbda.min() ** -0.5 + mse * lmbda.max() ** 0.5


def test_straight_through_rounds_with_the_gradient_of_the_identity() -> None:
    x = torch.tensor([-1.6, 0.4, 2.5], requires_grad=True)
    y = straight_through(x)
    assert y.tolist() == [-2, 0, 2]
    (y * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crop": 100}, "crop 100 is no multiple of 64"),
        ({"crop": 0}, "crop 0 is no multiple of 64"),
        ({"steps": 0}, "must be positive"),
        ({"batch": 0}, "must be positive"),
        ({"lr": 0.0}, "must be positive"),
        ({"lr_linear": -1.0}, "must be positive"),
        ({"warmup": -5}, "may not be negative"),
        ({"save_every": -1}, "may not be negative"),
        ({"clip": 0}, "clip not 0"),
        ({"ema": 1.5}, r"ema 1\.5 must lie in 0\.\.1"),
        ({"quality_range": (8, 1)}, r"quality_range \(8, 1\) must rise within 1\.\.8"),
        ({"quality_range": (0, 12)}, "quality_range"),
        ({"seed": -1}, r"seed -1 must lie in 0\.\.65535"),
        ({"seed": 2**32}, "seed 4294967296 must lie"),
    ],
)
def test_an_impossible_schedule_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainConfig(**changes)
