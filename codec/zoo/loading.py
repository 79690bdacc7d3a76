"""CompressAI's models by name: `load("mbt2018-mean:3:weights.pth.tar")`, `load("mbt2018-mean-vbr:weights.pth.tar")`.

The name of a fixed-rate model contains its quality, 1 to 8; that of a variable-rate model contains none.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from codec.errors import CheckpointError, ConfigError, first_line
from codec.zoo import COMPRESSAI, split_name
from codec.zoo.fixed_rate import LMBDAS, MODELS, ZooCodec, ZooConfig
from codec.zoo.variable_rate import VARIABLE, VbrCodec, model_of


def load(spec: str, device: str | torch.device = "cpu") -> ZooCodec:
    """Load the model of `NAME:QUALITY:FILE` or, where the rate is variable, `NAME:FILE`.

    Without a file it has CompressAI's published weights (for mse), which torch.hub downloads once into its cache and
    checks by the hash in their name.

    Raises:
        ConfigError: no such model or quality.
        CheckpointError: weights that cannot be read or downloaded, or do not fit.
    """
    config, file = parse(spec)
    source = file or _url(config)
    weights = _read(source, lambda: _from_file(Path(file)) if file else _downloaded(source))
    name, variable = config.architecture, config.architecture in VARIABLE
    try:
        model = model_of(name, weights) if variable else MODELS[name].from_state_dict(weights)
    except (KeyError, RuntimeError, AttributeError) as error:
        raise CheckpointError(f"{source}: no weights of {name}: {first_line(error)}") from error
    return (VbrCodec if variable else ZooCodec)(model, config).to(device)


def parse(spec: str) -> tuple[ZooConfig, str]:
    """Return the model and the file of a name; the file is empty where none is named.

    Raises:
        ConfigError: no such model, or its quality is missing or too much.
    """
    architecture, digit, file = split_name(spec)
    if architecture in VARIABLE:
        if digit:
            raise ConfigError(
                f"{COMPRESSAI}{spec}: its rate is variable: name {COMPRESSAI}{architecture}, and use --quality"
            )
        return ZooConfig(architecture), file
    if architecture not in MODELS:
        raise ConfigError(f"{COMPRESSAI}{spec}: no such model; there are {', '.join([*MODELS, *VARIABLE])}")
    if not digit:
        raise ConfigError(f"{COMPRESSAI}{spec}: write its quality, {COMPRESSAI}{architecture}:1 to {len(LMBDAS)}")
    return ZooConfig(architecture, int(digit)), file


def _read(source: str, read: Callable[[], Any]) -> dict[str, Tensor]:
    """Read weights, with the state-dict keys of this version of CompressAI."""
    from compressai.zoo import load_state_dict

    try:
        found = read()
    except Exception as error:  # whatever a damaged file makes zipfile, the unpickler or torch raise
        mend = "download it elsewhere and name its file after the model" if "://" in source else "name other weights"
        raise CheckpointError(f"{source}: {first_line(error)}: {mend}") from error
    weights = found.get("state_dict", found) if isinstance(found, dict) else {}
    return load_state_dict({k: v for k, v in weights.items() if isinstance(v, Tensor)})


def _from_file(path: Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True)


def _downloaded(url: str) -> Any:
    return torch.hub.load_state_dict_from_url(url, map_location="cpu", check_hash=True, weights_only=True)


def _url(config: ZooConfig) -> str:
    """Return the address of the weights that CompressAI publishes for a model.

    Raises:
        CheckpointError: none are published.
    """
    from compressai.zoo import image, image_vbr

    try:
        if config.architecture in VARIABLE:
            url: str = image_vbr.model_urls[config.architecture]["mse"]
        else:
            url = image.model_urls[config.architecture]["mse"][config.quality]
    except KeyError:
        raise CheckpointError(f"{config.name}: no weights are published: {config.name}:FILE names your own") from None
    return url
