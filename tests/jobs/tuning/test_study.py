"""Studies in real storages: resumed, refused, pruned; gains are made up here, Optuna is not."""

import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest

from codec.errors import ConfigError
from jobs.record import SCHEMA, Outcome, Record, Score
from jobs.tuning.open_study import open_study
from jobs.tuning.space import Dimension, StudyConfig
from jobs.tuning.storage import without_password
from jobs.tuning.study import OpenTrial, Study

CASES = 12
SPACE = StudyConfig({"temperature_bits": Dimension(0.0, 2.0), "move_fraction_start": Dimension(0.1, 0.9)})
SETUP: dict[str, Any] = {
    "search": {"temperature_bits": {"low": 0.0, "high": 2.0}},
    "photos": "12 (cafe)",
    "qualities": [4.0],
}


def opened(
    storage: str = "s.journal", setup: dict[str, Any] = SETUP, config: StudyConfig = SPACE, driver: str = "here"
) -> Study:
    return open_study(config, setup=setup, storage=storage, name="mine", cases=CASES, seed=0, driver=driver)


def record(gain: float, seconds: float = 1.0) -> Record:
    score = Score(1, 1.0, None, None, None, 1.0)
    outcome = Outcome("", 1, 1, score, score, gain, verified=True, iters=10, refine_seconds=seconds)
    return Record(SCHEMA, "done", "a.png", "", outcome=outcome)


def run(study: Study, gain: Callable[[OpenTrial, int], float]) -> OpenTrial:
    """One trial, to its end."""
    attempt = study.ask()
    while not study.add_record(attempt, case := attempt.todo.popleft(), record(gain(attempt, case))):
        pass
    return attempt


def peak(attempt: OpenTrial, case: int) -> float:
    """Greatest at temperature_bits 1.5, other for each case."""
    return 5 - (1 + 0.03 * case) * (attempt.recipe.temperature_bits - 1.5) ** 2 + 0.3 * case


def test_the_search_finds_what_is_best_and_gives_up_what_is_not(folder: Path) -> None:
    study = opened()
    runs = [run(study, peak) for _ in range(25)]
    trials, [best] = study.trials(), study.best()
    heats = [attempt.recipe.temperature_bits for attempt in runs]
    assert abs(heats[best.number] - 1.5) < 0.2 and best.cases == CASES
    assert sum(len(attempt.records) for attempt in runs) < 0.75 * 25 * CASES
    pruned = [t for t in trials if t.state == "pruned"]
    assert len(pruned) > 5 and all(4 <= t.cases < CASES for t in pruned)
    for trial in pruned:
        truth = 5 - 1.165 * (heats[trial.number] - 1.5) ** 2 + 0.3 * 5.5  # the mean over all cases
        assert trial.gain_percent == pytest.approx(truth, abs=0.2)
        assert trial.gain_percent < best.gain_percent


def test_each_trial_has_an_order_of_its_own(folder: Path) -> None:
    study = opened()
    orders = {tuple(study.ask().todo) for _ in range(5)}
    assert len(orders) == 5 and all(sorted(order) == list(range(CASES)) for order in orders)


def test_a_failed_case_fails_the_trial_and_says_why(folder: Path) -> None:
    study = opened()
    attempt = study.ask()
    assert study.add_record(attempt, 0, Record(SCHEMA, "failed", "a.png", "", error="out of memory"))
    [trial] = study.trials()
    assert (trial.state, trial.gain_percent, trial.error) == ("failed", None, "a.png: out of memory")
    assert study.finished == 0 and study.best() == [] and "out of memory" in study.describe(trial.number)


@pytest.mark.parametrize("storage", ["s.journal", "sqlite:///s.db"])
def test_a_study_goes_on_and_what_was_left_running_is_tried_again(folder: Path, storage: str) -> None:
    study = opened(storage)
    for _ in range(3):
        run(study, peak)
    left = study.ask()
    again = opened(storage)
    assert again.finished == 3
    assert again.ask().trial.params == left.trial.params
    fresh = again.ask().trial.params
    assert fresh not in [t.params for t in again.trials()]  # the sampler does not repeat its draws
    states = [trial.state.name for trial in again.study.get_trials()]
    assert states == ["COMPLETE"] * 3 + ["FAIL", "RUNNING", "RUNNING"]


@pytest.mark.parametrize("storage", ["s.journal", "sqlite:///s.db"])
def test_two_runs_of_a_study_leave_each_other_alone(folder: Path, storage: str) -> None:
    here = opened(storage)
    attempt = here.ask()
    there = opened(storage, driver="there")
    run(there, peak)
    while not here.add_record(attempt, case := attempt.todo.popleft(), record(peak(attempt, case))):
        pass
    assert here.finished == there.finished == 2


@pytest.fixture
def proxy(folder: Path) -> Iterator[str]:
    """URL of Optuna's storage proxy, which this test starts over a journal."""
    pytest.importorskip("grpc", reason="the proxy needs grpcio and protobuf")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = (
        "from optuna.storages import JournalStorage, run_grpc_proxy_server as serve; "
        "from optuna.storages.journal import JournalFileBackend as File; "
        f"serve(JournalStorage(File('shared.journal')), host='127.0.0.1', port={port})"
    )
    server = subprocess.Popen([sys.executable, "-W", "ignore", "-c", program], stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield f"grpc://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


def test_two_runs_share_a_study_through_a_proxy(proxy: str, folder: Path) -> None:
    config = StudyConfig(SPACE.search, objectives=("gain_percent", "seconds"), sampler="nsga2")
    here, there = opened(proxy, config=config), opened(proxy, config=config, driver="there")
    run(here, peak)
    run(there, peak)
    assert here.finished == there.finished == 2 and Path("shared.journal").is_file()
    assert type(here.study.sampler).__name__ == "NSGAIISampler"


def test_a_proxy_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match=r"--storage grpc://127.0.0.1:9: nobody answers"):
        opened("grpc://127.0.0.1:9")


@pytest.mark.parametrize("storage", ["s.journal", "sqlite:///s.db"])
def test_another_reader_finds_names_directions_and_notes(folder: Path, storage: str) -> None:
    config = StudyConfig(SPACE.search, objectives=("gain_percent", "seconds"))
    study = opened(storage, config=config)
    run(study, peak)
    backend: Any = storage
    if "://" not in storage:
        backend = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(storage))
    found = optuna.load_study(study_name="mine", storage=backend)
    assert [d.name for d in found.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert found.metric_names == ["gain_percent", "seconds"] and found.user_attrs["setup"] == SETUP
    [trial] = found.trials
    assert trial.user_attrs["cases"] == "12 of 12" and trial.user_attrs["seconds"] == 1.0
    assert list(trial.params) == ["temperature_bits", "move_fraction_start"] and len(trial.values) == 2


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"search": {"temperature_bits": {"low": 0.0, "high": 4.0}}}, "search.temperature_bits.high 2.0, not 4.0"),
        (
            {"search": {"temperature_bits": {"low": 0.0, "high": 2.0}, "move_fraction_end": {}}},
            "search.move_fraction_end None, not {}",
        ),
        ({"photos": "11 (beef)"}, "photos 12 (cafe), not 11 (beef)"),
        ({"qualities": [4.0, 6.0]}, "qualities None, not 6.0"),
    ],
)
def test_a_study_that_was_begun_otherwise_is_refused_and_left_alone(folder: Path, change: Any, text: str) -> None:
    run(opened(), peak)
    before = Path("s.journal").read_bytes()
    with pytest.raises(ConfigError, match="was begun with") as caught:
        opened(setup={**SETUP, **change})
    assert text in str(caught.value) and "another -o or --name" in str(caught.value)
    assert Path("s.journal").read_bytes() == before


def test_a_study_of_an_earlier_release_resumes_under_its_stored_names(folder: Path) -> None:
    """Optuna would not know a dimension again by another name."""
    before = {"search": {"heat": {"low": 0.0, "high": 2.0}, "share_start": {}}, "photos": "1"}
    study = optuna.create_study(storage="sqlite:///s.db", study_name="mine", direction="maximize")
    study.set_user_attr("setup", before)
    uniform = optuna.distributions.FloatDistribution
    trial = study.ask({"heat": uniform(0.0, 2.0), "share_start": uniform(0.1, 0.9)})
    trial.set_user_attr("cases", f"{CASES} of {CASES}")
    for case in range(CASES):
        trial.report(1.0, case)
    study.tell(trial, 1.0)
    now = {"search": {"temperature_bits": {"low": 0.0, "high": 2.0}, "move_fraction_start": {}}, "photos": "1"}
    resumed = opened("sqlite:///s.db", setup=now)
    attempt = run(resumed, peak)
    assert set(attempt.trial.params) == {"heat", "share_start"}
    assert all(set(t.params) == {"temperature_bits", "move_fraction_start"} for t in resumed.trials())
    best = next(t for t in resumed.trials() if t.number == trial.number)
    assert resumed.config.recipe(best.params).temperature_bits == pytest.approx(trial.params["heat"], rel=1e-3)


def test_a_strangers_study_is_refused(folder: Path) -> None:
    study = optuna.create_study(storage="sqlite:///s.db", study_name="mine", direction="maximize")
    study.tell(study.ask(), 1.0)
    with pytest.raises(ConfigError, match="was not begun by rdo-tune"):
        opened("sqlite:///s.db")


def test_a_line_that_was_cut_by_a_crash_does_not_spoil_the_journal(folder: Path) -> None:
    run(opened(), peak)
    whole = Path("s.journal").read_bytes()
    Path("s.journal").write_bytes(whole + b'{"op_code":4,"work')
    study = opened()
    run(study, peak)
    assert study.finished == 2 and opened().finished == 2


@pytest.mark.parametrize(
    ("storage", "text"),
    [
        ("postgresql://me:secret@127.0.0.1:1/db", "postgresql://127.0.0.1:1/db: nobody answers"),
        ("redis://127.0.0.1:1", "nobody answers"),
        ("sqlite:///missing/s.db", "cannot be used: "),
        ("nonesuch://x", "cannot be used: "),
        ("missing/s.journal", "cannot be used: "),
    ],
)
def test_a_storage_that_cannot_be_is_a_line_within_seconds(folder: Path, storage: str, text: str) -> None:
    begin = time.monotonic()
    with pytest.raises(ConfigError) as caught, warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # of SQLAlchemy's own failed connection
        opened(storage)
    assert text in str(caught.value) and "\n" not in str(caught.value) and "secret" not in str(caught.value)
    assert time.monotonic() - begin < 10


def test_passwords_are_not_shown() -> None:
    assert without_password("mysql+pymysql://me:secret@host:3306/db") == "mysql+pymysql://host:3306/db"
    assert without_password("sqlite:///s.db") == "sqlite:///s.db" and without_password("a/s.journal") == "a/s.journal"


def test_a_front_holds_what_nothing_beats(folder: Path) -> None:
    study = opened(config=StudyConfig(SPACE.search, objectives=("gain_percent", "seconds")))
    for gain, seconds in [(1, 1), (3, 5), (2, 6), (2, 3), (2, 3)]:
        attempt = study.ask()
        while not study.add_record(attempt, attempt.todo.popleft(), record(gain, seconds)):
            pass
    assert [t.number for t in study.best()] == [1, 3, 0]
