"""Codecs by name: `load` finds an installed model, a checkpoint, one of CompressAI's models, or a codec of your own."""

import warnings
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from codec.architecture import Metric
from codec.checkpoint import installed_models, load_own, own_distortion
from codec.errors import CheckpointError, ConfigError
from codec.interface import AnyCodec
from codec.own_functions import import_function, is_function_name
from codec.zoo import COMPRESSAI

ENTRY_POINTS = "rdo.codecs"
MEMBERS = ("config", *sorted(name for name in dir(AnyCodec) if not name.startswith("_")))  # of the protocol


def load(model: str | Path = "small", device: str | torch.device = "cpu") -> AnyCodec:
    """Load a codec ready to encode and decode: frozen, in evaluation mode, on `device`.

    Args:
        model: one of
            - the name of an installed model (`installed_models`), or the path of a checkpoint or manifest of shards;
            - `compressai:NAME:QUALITY[:FILE]`, one of CompressAI's models with weights from a file of your own, else
              its published ones, which are downloaded; of its variable-rate models `compressai:NAME[:FILE]`;
            - `package.module:function`, a function or class in your own code that takes no argument and returns a
              codec meeting `codec.interface.AnyCodec`; the module must be installed or on PYTHONPATH;
            - the name of an entry point of such a function, in the group `rdo.codecs`, which a package declares as
              [project.entry-points."rdo.codecs"] NAME = "package.module:function".

    Raises:
        CheckpointError: no such model or function, a checkpoint that is corrupt or does not fit its configuration, or
            a returned object that is no codec.
        ConfigError: no such model or quality of CompressAI's.
    """
    name = str(model)
    if name.startswith(COMPRESSAI):
        return _zoo().load(name.removeprefix(COMPRESSAI), device)
    function = own_function(name)
    return load_own(model, device) if function is None else _own(name, _imported(name, function), device)


def model_distortion(model: str | Path) -> Metric:
    """Return the distortion that a model of a name was trained for, as far as it is known without loading it.

    The mse of those that are not ours.

    Raises:
        CheckpointError: no such model, or a file that is not one of ours.
    """
    name = str(model)
    foreign = name.startswith(COMPRESSAI) or own_function(name) is not None
    return "mse" if foreign else own_distortion(model)


def _zoo() -> ModuleType:
    """Import the loader of CompressAI's models, and with it CompressAI.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        with warnings.catch_warnings():  # CompressAI imports what torch calls deprecated
            warnings.filterwarnings("ignore", category=FutureWarning, module="torch")
            from codec.zoo import loading as zoo_loading
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{COMPRESSAI} CompressAI cannot be imported ({error}); it has wheels for Python 3.11 and 3.12"
        ) from error
    return zoo_loading


def own_function(model: str) -> str | None:
    """Return the `package.module:function` of a model's name: itself, or the value of the entry point so named.

    None for the name of one of our models, of one of CompressAI's, or of a file.
    """
    if model.startswith(COMPRESSAI) or model in installed_models() or Path(model).exists():
        return None
    if is_function_name(model):
        return model
    return next((entry.value for entry in entry_points(group=ENTRY_POINTS, name=model)), None)


def _imported(name: str, function: str) -> Callable[[], Any]:
    """Import the `package.module:function` of a model's name.

    Raises:
        CheckpointError: no such module or function.
    """
    try:
        return import_function(function, "returns a codec", name)
    except ConfigError as error:
        raise CheckpointError(str(error)) from error


def _own(name: str, make: Callable[[], Any], device: str | torch.device) -> AnyCodec:
    """Call the function `make`, freeze the codec it returns, and check that this has all members of the protocol.

    Raises:
        CheckpointError: it lacks some of them.
    """
    codec = make()
    if isinstance(codec, nn.Module):
        codec = codec.eval().requires_grad_(False).to(device)
    if missing := [member for member in MEMBERS if not hasattr(codec, member)]:
        what = f"returns a {type(codec).__name__}, which has no {', '.join(missing)}"
        raise CheckpointError(f"{name}: {what}: see codec.interface.AnyCodec, which a codec may subclass")
    return codec
