"""Functions of one's own by name, `package.module:function`: a codec, a relaxation or a metric that a package brings.

A name goes where a function cannot: into flags, YAML files, records and the processes of other machines.
"""

import re
from collections.abc import Callable
from importlib import import_module
from typing import Any

from codec.errors import ConfigError, first_line

_FUNCTION = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def is_function_name(text: str) -> bool:
    """Tell whether a text has the form `package.module:function`."""
    return bool(_FUNCTION.fullmatch(text))


def import_function(function: str, purpose: str, name: str | None = None) -> Callable[..., Any]:
    """Import the function or class that `package.module:function` names, from what is installed or on PYTHONPATH.

    Args:
        function: its name; the module `__main__` is the running program or notebook.
        purpose: what it must do, for the error's mend, as "returns a codec".
        name: what the user called it, for the error; None takes `function`.

    Raises:
        ConfigError: no such module, or nothing in it of that name that can be called.
    """
    module, _, attribute = function.partition(":")
    said = name or function
    try:
        found = getattr(import_module(module), attribute)
    except ImportError as error:
        mend = "install its package, or add its folder to PYTHONPATH"
        raise ConfigError(f"{said}: cannot be imported: {first_line(error)}: {mend}") from error
    except AttributeError as error:
        raise ConfigError(f"{said}: {first_line(error)}: name a function that {purpose}") from error
    if not callable(found):
        raise ConfigError(f"{said}: is a {type(found).__name__}: name a function that {purpose}")
    return found
