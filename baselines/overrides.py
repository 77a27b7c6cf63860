"""Change a configuration from the command line: ``train.lr=2e-4``."""

import dataclasses
import difflib
import json
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

__all__ = ["override"]

T = TypeVar("T")


def override(roots: Mapping[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """Apply settings to frozen dataclasses.

    Args:
        roots: First word of a key -> dataclass instance.
        settings: Each is "root.field=value" or "root.field.field=value". The field decides the type
            of the value; tuples are written as "1,2,3", None as "none".

    Returns:
        First word of a key -> changed instance.

    Raises:
        ValueError: A key is unknown, or a value has another type. The message says what is allowed.
    """
    changed = dict(roots)
    for setting in settings:
        key, equals, text = setting.partition("=")
        root, _, path = key.strip().partition(".")
        if not equals or not path:
            raise ValueError(f"{setting!r} is not of the form key.field=value")
        if root not in changed:
            raise ValueError(f"unknown key {root!r}; known: {', '.join(changed)}")
        changed[root] = _set(changed[root], path.split("."), text.strip(), root)
    return changed


def _set(config: T, path: Sequence[str], text: str, prefix: str) -> T:
    name, *rest = path
    kinds = typing.get_type_hints(type(config))
    key = f"{prefix}.{name}"
    if name not in kinds:
        near = difflib.get_close_matches(name, kinds, n=1) or [", ".join(kinds)]
        raise ValueError(f"unknown key {key!r}; did you mean {near[0]}?")
    value = getattr(config, name)
    if rest:
        if not dataclasses.is_dataclass(value):
            raise ValueError(f"{key} has no fields, so {'.'.join((key, *rest))!r} is unknown")
        return dataclasses.replace(config, **{name: _set(value, rest, text, key)})
    if dataclasses.is_dataclass(value):
        fields = ", ".join(f"{key}.{field.name}" for field in dataclasses.fields(value))
        raise ValueError(f"{key} is a group; set one of {fields}")
    try:
        return dataclasses.replace(config, **{name: _parse(text, kinds[name])})
    except (ValueError, TypeError) as error:
        raise ValueError(f"{key}={text}: {error}") from None


def _parse(text: str, kind: Any) -> Any:
    """Read a value of a type that the configurations use."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if text.lower() == "none":
            return None
        (kind,) = (argument for argument in arguments if argument is not type(None))
        return _parse(text, kind)
    if origin is typing.Literal:
        if text not in arguments:
            raise ValueError(f"must be one of {', '.join(arguments)}")
        return text
    if origin is tuple:
        return _parse_tuple(text, arguments)
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError("must be true or false")
        return text.lower() == "true"
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            raise ValueError(f"must be {'a whole number' if kind is int else 'a number'}") from None
    if kind is str:
        return text
    raise ValueError(f"cannot be set on the command line: {kind}")


def _parse_tuple(text: str, kinds: tuple[Any, ...]) -> tuple[Any, ...]:
    if text.startswith("["):
        items = [item if isinstance(item, str) else json.dumps(item) for item in json.loads(text)]
    else:
        items = [item.strip() for item in text.strip("()").split(",") if item.strip()]
    if kinds[-1] is Ellipsis:
        return tuple(_parse(item, kinds[0]) for item in items)
    if len(items) != len(kinds):
        raise ValueError(f"must be {len(kinds)} values, not {len(items)}")
    return tuple(_parse(item, kind) for item, kind in zip(items, kinds, strict=True))
