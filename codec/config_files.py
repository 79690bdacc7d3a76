"""Configuration files that come with the package: the folder `configs`, and names of the YAML files in it."""

from importlib import resources
from pathlib import Path

from codec.architecture import ModelConfig
from codec.errors import ConfigError
from codec.settings import build, load_yaml


def config_folder() -> Path:
    """Return the folder `configs` of the installed package."""
    return Path(str(resources.files("configs")))


def config_file(name: str, folder: str, what: str) -> Path:
    """Return the YAML file of a name in a folder of `configs`, or `name` itself where it ends in .yaml or .yml.

    Args:
        what: what such a file is called in an error's message.

    Raises:
        ConfigError: no such name.
    """
    if Path(name).suffix in (".yaml", ".yml"):
        return Path(name)
    installed = dict(sorted((path.stem, path) for path in (config_folder() / folder).glob("*.yaml")))
    if name not in installed:
        raise ConfigError(f"{name}: no such {what}; there are {', '.join(installed)}, or name a .yaml file")
    return installed[name]


def model_config(name: str) -> ModelConfig:
    """Read the architecture of a name in configs/models, or of a YAML file.

    Raises:
        ConfigError: unknown name or bad file.
    """
    path = config_file(name, "models", "model configuration")
    return build(ModelConfig, load_yaml(path), str(path))
