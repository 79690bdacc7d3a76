"""Settings: frozen dataclasses filled from strict YAML and flags; an unknown key is an error, never ignored.

Invariant: `build(type(c), to_mapping(c)) == c`, and equal settings have equal mappings and hashes, except that an int
beyond 2**53 in a float field becomes the nearest float. Every mistake in a user's input raises `ConfigError`, which
names the source, the dotted key and the remedy.

A dataclass whose fields were renamed lists them as `RENAMED: ClassVar[Mapping[str, str]]`, old key -> field: `build`
and `override` read an old key with a warning on stderr, and hashes keep it, so that a rename changes no stored hash.
"""

import difflib
import hashlib
import json
import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from codec.errors import ConfigError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")
_NOUNS = {int: "a whole number", float: "a finite number", bool: "true or false", str: "text", Path: "a path"}
_QUOTE = ": put it in quotes (bare yes, no, on, off, numbers and dates are not text in YAML)"


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses repeated keys and keys that are not text, and reports the line of every bad value."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:  # here, as merging `<<` later repeats keys legally
        node, seen = super().compose_mapping_node(anchor), set[str]()
        for key, _ in node.value:
            is_text = isinstance(key, yaml.ScalarNode) and key.tag.rpartition(":")[2] in ("str", "merge")
            if not is_text or key.value in seen:
                what = f"duplicate key {key.value!r}: keep one" if is_text else "key that is not text: put it in quotes"
                raise yaml.MarkedYAMLError(problem=what, problem_mark=key.start_mark)
            seen.add(key.value)
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError) as error:  # PyYAML lets these out, e.g. for 2024-13-01
            raise yaml.MarkedYAMLError(problem=f"invalid value: {error}", problem_mark=node.start_mark) from error


def load_yaml(path: Path) -> dict[str, object]:
    """Read a YAML mapping for `build`.

    Raises:
        ConfigError: unreadable file or invalid YAML; the message names the file and the line.
    """
    text = ""
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")  # PyYAML refuses and places surrogates
        data = _StrictLoader(text).get_single_data()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}: give a readable YAML file") from error
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line if mark else text.count("\n", 0, getattr(error, "position", 0))
        what = getattr(error, "problem", "control characters, bytes that are not UTF-8, or nesting too deep: mend it")
        raise ConfigError(f"{path}:{line + 1}: {what}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path}:1: the top level is not a mapping: write 'key: value' lines")
    return data


def build(cls: type[T], mapping: Mapping[str, object], source: str = "") -> T:
    """Build a `cls` from a mapping, converting each value to the annotated type.

    Types are int, float, bool, str, Path, Literal, tuple, dict by name, a dataclass, or one of these and None.

    Numbers, bools and tuples may be given as text ("1e-3", "true", "1,2,3"), as PyYAML and flags give them.

    Raises:
        ConfigError: a key or value does not fit, or `cls` raises ValueError; the message begins with `source`.
    """
    return _make(cls, mapping, f"{source}: " if source else "")


def override(config: T, changes: Mapping[str, object], source: str = "flag") -> T:
    """Return a copy of `config` with dotted keys changed; the text `none` or `null` gives None where that is allowed.

    Raises:
        ConfigError: a key or value does not fit; the message begins with `source`.
    """
    prefix, tree = f"{source}: " if source else "", dict[str, Any]()
    for key, value in changes.items():
        if any(other.startswith(f"{key}.") for other in changes):
            raise ConfigError(f"{prefix}{key}: changed both as a whole and in part: keep one")
        *parents, name = key.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = value
    return _make(type(config), tree, prefix, config)


def to_mapping(config: "DataclassInstance") -> dict[str, object]:
    """Convert settings to a nested dict for JSON, with the types of `build` (1 in a float field becomes 1.0)."""
    settled = build(type(config), json.loads(json.dumps(asdict(config), default=str)))
    return json.loads(json.dumps(asdict(settled), default=str))


def config_hash(config: "DataclassInstance") -> str:
    """Return 16 hex digits of the SHA-256 of settings; equal settings have equal hashes in every process."""
    text = json.dumps(to_stored_mapping(config), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def to_stored_mapping(config: "DataclassInstance") -> dict[str, object]:
    """Return `to_mapping` as earlier releases stored it: renamed fields under their old keys, added ones left out.

    Fields that a class lists in `ADDED` are left out where they have their default.

    Settings inside a dict or tuple keep their present keys: nothing stored has any there.
    """
    return _with_old_keys(config, to_mapping(config))


def current_key(cls: "type[DataclassInstance]", key: str, source: str = "") -> str:
    """Return the field of `cls` that a key names; an old key of a renamed field prints a warning, once a source."""
    renamed: Mapping[str, str] = getattr(cls, "RENAMED", {})
    if key not in renamed:
        return key
    _warn_once(f"{source}{key}: is called {renamed[key]} now: rename it, the next release will not read {key}")
    return renamed[key]


def _with_old_keys(config: "DataclassInstance", mapping: Mapping[str, Any]) -> dict[str, object]:
    old = {new: old for old, new in getattr(config, "RENAMED", {}).items()}
    found = dict[str, object]()
    for field in fields(config):
        value = getattr(config, field.name)
        if field.name in getattr(config, "ADDED", ()) and value == field.default:
            continue
        inner = is_dataclass(value) and not isinstance(value, type)
        there = mapping[field.name]
        found[old.get(field.name, field.name)] = _with_old_keys(value, there) if inner else there
    return found


def _with_current_keys(cls: "type[DataclassInstance]", mapping: Mapping[str, object], prefix: str) -> dict[str, object]:
    found = dict[str, object]()
    for key, value in mapping.items():
        name = current_key(cls, key, prefix)
        if name != key and name in mapping:
            raise ConfigError(f"{prefix}{name}: given twice, also by its old name {key}: keep one")
        found[name] = value
    return found


@cache
def _warn_once(text: str) -> None:
    print(text, file=sys.stderr)


def _make(cls: type[T], mapping: Mapping[str, object], prefix: str, base: object = MISSING) -> T:
    """Build a `cls`; a key missing in `mapping` comes from `base`, the settings to override, or is the default."""
    mapping = _with_current_keys(cls, mapping, prefix)
    known, hints, values = {field.name: field for field in fields(cls)}, get_type_hints(cls), {}
    for name in mapping:
        if name not in known:
            raise ConfigError(f"{prefix}{name}: unknown key; {_nearest(name, known, 'keys')}")
    for name, field in known.items():
        if name in mapping:
            old = MISSING if base is MISSING else getattr(base, name, None)
            values[name] = _coerce(hints[name], mapping[name], f"{prefix}{name}", old)
        elif isinstance(base, cls):
            values[name] = getattr(base, name)
        elif field.default is field.default_factory is MISSING:
            raise ConfigError(f"{prefix}{name}: missing key: give it a value, it has no default")
    try:
        return cls(**values)
    except ValueError as error:
        raise ConfigError(f"{prefix[:-1]}: {error}" if prefix.endswith(".") else f"{prefix}{error}") from error


def _coerce(kind: Any, value: Any, at: str, base: object) -> object:
    """Convert `value` to the annotated `kind`; `base` is the old value in an override, else MISSING."""
    args, origin = get_args(kind), get_origin(kind)
    if origin in (Union, UnionType):
        inner = [arg for arg in args if arg is not NoneType]
        assert len(inner) == 1, f"{at}: settings hold one type, or None; not {kind}"
        is_none = value is None or (base is not MISSING and str(value).lower() in ("none", "null"))
        return None if is_none else _coerce(inner[0], value, at, base)
    if origin is Literal:  # by type too, as True == 1; text may stand for a number
        same = [c for c in args if type(c) is type(value) and c == value] or [c for c in args if str(c) == value]
        if not same:
            hint = _QUOTE if isinstance(value, bool) else ""
            raise ConfigError(f"{at}: unknown value {value!r}{hint}; {_nearest(value, args, 'values')}")
        return same[0]
    if origin is tuple:
        items = [i.strip() for i in value.split(",") if value.strip()] if isinstance(value, str) else value
        kinds = args[:1] * len(items) if ... in args and isinstance(items, list | tuple) else args
        if not isinstance(items, list | tuple) or len(items) != len(kinds):
            raise ConfigError(f"{at}: expected a list{'' if ... in args else f' of {len(args)}'}, got {value!r}")
        return tuple(_coerce(kinds[i], item, f"{at}[{i}]", base) for i, item in enumerate(items))
    is_settings = isinstance(kind, type) and is_dataclass(kind)
    if (origin is dict or is_settings) and not isinstance(value, Mapping):
        raise ConfigError(f"{at}: expected a mapping, got {value!r}")
    if origin is dict:
        return {name: _coerce(args[1], item, f"{at}.{name}", MISSING) for name, item in value.items()}
    if is_settings:
        return _make(kind, value, f"{at}.", base)
    assert kind in _NOUNS, f"{at}: settings cannot hold {kind}"
    try:
        return _to_scalar(kind, value)
    except (ValueError, LookupError, OverflowError):
        raise ConfigError(f"{at}: expected {_NOUNS[kind]}, got {value!r}{_QUOTE if kind is str else ''}") from None


def _to_scalar(kind: Any, value: Any) -> object:
    """Convert to int, float, bool, str or Path, also from text; raises ValueError, LookupError or OverflowError."""
    if kind is bool:
        return {"true": True, "false": False}[str(value).lower()]
    if kind in (str, Path) and isinstance(value, (str, kind)):
        return kind(value)
    if kind in (int, float) and isinstance(value, int | float | str) and not isinstance(value, bool):
        if kind is int and str(value).lstrip("+-").isdecimal():  # exact beyond 2**53
            return int(value)
        number = float(value)
        if math.isfinite(number) and (kind is float or number.is_integer()):
            return number + 0.0 if kind is float else int(number)  # -0.0 + 0.0 is 0.0: equal settings, one hash
    raise ValueError(value)


def _nearest(word: object, valid: Iterable[object], noun: str) -> str:
    """Return a hint with the valid name nearest to `word`, and all valid names."""
    names = [str(name) for name in valid]
    best = difflib.get_close_matches(str(word), names, n=1, cutoff=0.0)  # 0: always one, however far
    return f"did you mean {best[0]!r}? valid {noun}: {', '.join(names)}" if best else f"there are no {noun}"
