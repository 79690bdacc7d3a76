"""Public names of a package that are imported on first use."""

import sys
from importlib import import_module
from typing import Any


def lazy_attribute(package: str, name: str, module_of: dict[str, str]) -> Any:
    """Import a package's public name from its module and keep it in the package; for a package's `__getattr__`.

    Args:
        module_of: module below the package, of each public name.

    Raises:
        AttributeError: not a public name.
    """
    if name not in module_of:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    value = getattr(import_module(f"{package}.{module_of[name]}"), name)
    setattr(sys.modules[package], name, value)
    return value
