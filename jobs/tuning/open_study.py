"""Opening of a study in Optuna's storage: created, or resumed with the setup that it was begun with."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from codec.errors import ConfigError
from jobs.tuning.setup import first_difference, with_current_names
from jobs.tuning.space import Sampler, StudyConfig
from jobs.tuning.storage import PORTS, check_server, repair_journal, without_password
from jobs.tuning.study import Study
from jobs.tuning.trial import DIRECTIONS

if TYPE_CHECKING:
    import optuna

PRUNE_P = 0.1  # significance level of the Wilcoxon test that prunes a trial


def require_optuna() -> None:
    """Raise ConfigError if Optuna is not installed."""
    try:
        import optuna  # noqa: F401  (others import it by name)
    except ImportError as error:
        raise ConfigError('studies need Optuna, which is not installed: pip install ".[tune]"') from error


def open_study(
    config: StudyConfig,
    *,
    setup: Mapping[str, object],
    storage: str,
    name: str,
    cases: int,
    seed: int,
    driver: str,
) -> Study:
    """Create a study or resume the stored one; trials that a killed run left under way are tried again.

    Args:
        config: search space and objectives.
        setup: everything that values of trials depend on; a stored study with another setup is refused.
        storage: database URL of a kind that Optuna supports, redis://..., grpc://HOST:PORT of its storage proxy, or
            the path of a journal file.
        name: name of the study in its storage.
        cases: number of cases of a whole trial.
        seed: seed of the sampler.
        driver: name of this run; trials that other drivers have under way are left to them.

    Raises:
        ConfigError: the storage cannot be used, or holds a study of this name with another setup.
    """
    require_optuna()
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = _load(storage, name, [DIRECTIONS[objective] for objective in config.objectives])
        _check_setup(study, setup, f"{without_password(storage)}: study {name}")
        study.set_metric_names(list(config.objectives))
        study.pruner = optuna.pruners.WilcoxonPruner(p_threshold=PRUNE_P)
        # a sampler that began again with its seed would draw again what it has drawn
        seed += len(study.get_trials(deepcopy=False))
        study.sampler = _sampler(config.sampler, seed)
    opened = Study(config, study, cases, driver)
    _fail_abandoned(study, set(opened.distributions), driver)
    for point in config.presets():
        study.enqueue_trial({opened.stored_name(key): value for key, value in point.items()}, skip_if_exists=True)
    return opened


def _sampler(name: Sampler, seed: int) -> "optuna.samplers.BaseSampler":
    """Return the sampler of a name: `tpe`, a model of good and bad trials, or `nsga2`, evolution of a Pareto front."""
    import optuna

    if name == "nsga2":
        return optuna.samplers.NSGAIISampler(seed=seed)
    return optuna.samplers.TPESampler(multivariate=True, constant_liar=True, seed=seed)


def _load(storage: str, name: str, directions: list[Literal["maximize", "minimize"]]) -> "optuna.Study":
    """Load the study of a name from its storage, or create it there."""
    import optuna
    from optuna.storages import BaseStorage, GrpcStorageProxy, JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend, JournalRedisBackend

    check_server(storage)
    try:
        backend: BaseStorage
        if "://" not in storage:
            repair_journal(Path(storage))
            backend = JournalStorage(JournalFileBackend(storage))
        elif storage.startswith("redis"):
            backend = JournalStorage(JournalRedisBackend(storage))
        elif storage.startswith("grpc://"):
            url = urlsplit(storage)
            backend = GrpcStorageProxy(host=url.hostname or "localhost", port=url.port or PORTS["grpc"])
        else:
            backend = RDBStorage(storage)
        if name in optuna.get_all_study_names(backend):  # creating writes, even where there is one
            return optuna.load_study(study_name=name, storage=backend)
        return optuna.create_study(storage=backend, study_name=name, directions=directions)
    except ImportError as error:
        raise ConfigError(
            f"--storage {without_password(storage)}: needs a driver that is not installed: {error}"
        ) from error
    except Exception as error:  # each database raises types of its own
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ConfigError(f"--storage {without_password(storage)}: cannot be used: {reason}: check the URL") from error


def _check_setup(study: "optuna.Study", setup: Mapping[str, object], where: str) -> None:
    """Store the setup of a new study; raise ConfigError if the stored one differs."""
    stored = study.user_attrs.get("setup")
    if stored is None and not study.get_trials(deepcopy=False):
        study.set_user_attr("setup", setup)
        return
    if stored is None:
        raise ConfigError(f"{where}: was not begun by rdo-tune: take another --name")
    if change := first_difference(with_current_names(stored), setup):
        key, old, new = change
        raise ConfigError(f"{where}: was begun with {key} {old}, not {new}: undo that, or take another -o or --name")


def _fail_abandoned(study: "optuna.Study", names: set[str], driver: str) -> None:
    """Fail the trials that a killed run of this driver left under way, and enqueue them again; records are kept."""
    from optuna.trial import TrialState

    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if trial.user_attrs.get("run", driver) != driver:
            continue
        study.tell(trial.number, state=TrialState.FAIL)
        if set(trial.params) == names:
            study.enqueue_trial(trial.params, user_attrs={"repeats": trial.number})
