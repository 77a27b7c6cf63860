"""Read detectron2's YAML files as data: bases are merged, and nothing in a file is executed."""

import ast
import operator
from pathlib import Path
from typing import Any

from entityseg_bench.io import InputError, open_regular
from entityseg_bench.names import is_there

__all__ = ["read_yaml"]

BASE = "_BASE_"
EVAL_TAG = "tag:yaml.org,2002:python/object/apply:eval"
TUPLE_TAG = "tag:yaml.org,2002:python/tuple"
MOST_ITEMS = 10_000  # of a range that a file asks for
MOST_VALUES = 10_000  # of a file, once its aliases are written out
MOST_BYTES = 1 << 20  # of a file
MOST_LETTERS = 200  # of an expression
MOST_BASES = 20  # files that stand on each other


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a configuration file and the files it is based on.

    Values are plain: numbers, strings, lists, tuples, mappings. As in detectron2, a string that
    reads as a Python literal is one, ``("a", "b")`` for instance, and of a key that stands twice
    the last counts. ``!!python/object/apply:eval``, which one of the original's files uses for a
    list of sizes, is understood where it is arithmetic over a range, and any other tag that would
    run code is refused.

    Raises:
        InputError: A file that is missing, no YAML or no mapping, bases that go round in a circle,
            or a tag that would run code.
        ImportError: PyYAML is not installed.
    """
    return _read(Path(path), ())


def _read(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    if path.resolve() in above:
        raise InputError(path, BASE, "the file is based on itself.", "Break the circle.")
    if len(above) > MOST_BASES:
        raise InputError(path, BASE, f"more than {MOST_BASES} files stand on each other.")
    content = _load(path)
    bases = content.pop(BASE, [])
    merged: dict[str, Any] = {}
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list | tuple):
        raise InputError(path, BASE, f"{bases!r:.80} is no name of a file, nor a list of such.")
    for base in bases:
        if "://" in str(base):
            raise InputError(path, BASE, f"{base} is no file.", "Copy it here and name the copy.")
        found = path.parent / Path(str(base)).expanduser()
        if not is_there(found):
            raise InputError(path, BASE, f"its base {found} is missing.", "Copy it there, too.")
        merged = _merged(merged, _read(found, (*above, path.resolve())), found)
    return _merged(merged, content, path)


def _load(path: Path) -> dict[str, Any]:
    import yaml

    class Loader(yaml.SafeLoader):
        """PyYAML's safe loader, and what the original's files need beside it."""

    def refuse(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> None:
        raise InputError(
            path,
            f"line {node.start_mark.line + 1}",
            f"the tag !!python/{suffix} would run code.",
            "Write the value itself.",
        )

    def evaluate(loader: yaml.SafeLoader, node: yaml.Node) -> Any:
        arguments = loader.construct_sequence(node)
        try:
            if len(str(arguments[0])) > MOST_LETTERS:
                raise ValueError("too long")
            return _value(ast.parse(str(arguments[0]).strip(), mode="eval").body, {})
        except (SyntaxError, ValueError, ArithmeticError, IndexError, TypeError):
            raise InputError(
                path,
                f"line {node.start_mark.line + 1}",
                f"only arithmetic over a range is computed, not {str(arguments)[:MOST_LETTERS]}.",
                "Write the value itself.",
            ) from None

    Loader.add_constructor(EVAL_TAG, evaluate)
    Loader.add_constructor(TUPLE_TAG, lambda loader, node: tuple(loader.construct_sequence(node)))
    Loader.add_multi_constructor("tag:yaml.org,2002:python/", refuse)
    try:
        with open_regular(path) as file:
            text = file.read(MOST_BYTES + 1)
        if len(text) > MOST_BYTES:
            raise InputError(path, "", f"it has more than {MOST_BYTES} bytes: no settings do.")
        loader = Loader(text.decode("utf-8"))
        node = loader.get_single_node()
        if node is None:
            return {}
        if _unfolded(node, {}) > MOST_VALUES:
            what = f"its aliases stand for more than {MOST_VALUES} values."
            raise InputError(path, "", what, "Is it a configuration file?")
        content = loader.construct_document(node)
    except FileNotFoundError:
        raise InputError(path, "", "there is no such file.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(path, "", f"it cannot be read: {error}.") from None
    except RecursionError:
        raise InputError(path, "", "it is nested too deeply, or in itself.") from None
    except InputError:
        raise
    # What PyYAML makes of dates and numbers may be none.
    except (yaml.YAMLError, ValueError, OverflowError, TypeError, KeyError) as error:
        raise InputError(path, "", f"it is no YAML: {' '.join(str(error).split())}.") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise InputError(path, "", "it is no mapping of settings.", "Is it a configuration file?")
    return _decoded(content)


def _unfolded(node: Any, known: dict[int, int]) -> int:
    """Count the values of a node, those behind an alias each time that it stands there."""
    if not isinstance(node.value, list):
        return 1
    if id(node) not in known:
        pairs = (part if isinstance(part, tuple) else (part,) for part in node.value)
        known[id(node)] = 1 + sum(_unfolded(one, known) for pair in pairs for one in pair)
    return known[id(node)]


def _decoded(value: Any) -> Any:
    """Read strings that are Python literals, as detectron2 does."""
    if isinstance(value, dict):
        return {str(key): _decoded(item) for key, item in value.items()}
    if not isinstance(value, str):
        return value
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return value


def _merged(base: dict[str, Any], own: dict[str, Any], path: Path, at: str = "") -> dict[str, Any]:
    """Lay a file's own settings over its base's."""
    result = dict(base)
    for key, value in own.items():
        place = f"{at}{key}"
        if isinstance(value, dict) and key in result:
            if not isinstance(result[key], dict):
                raise InputError(path, place, "it is a group here and a value in its base.")
            value = _merged(result[key], value, path, f"{place}.")
        result[key] = value
    return result


_OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.USub: operator.neg,
}
_FUNCTIONS = {"int": int, "float": float, "round": round}


def _value(node: ast.expr, names: dict[str, int]) -> Any:
    """Compute an expression of numbers, lists, and lists over one range; nothing else."""
    match node:
        case ast.Constant(int() | float() as value):
            return value
        case ast.Name(name) if name in names:
            return names[name]
        case ast.List(items) | ast.Tuple(items):
            return [_value(item, names) for item in items]
        case ast.BinOp(left, sign, right) if type(sign) in _OPERATORS:
            return _OPERATORS[type(sign)](_number(left, names), _number(right, names))
        case ast.UnaryOp(sign, operand) if type(sign) in _OPERATORS:
            return _OPERATORS[type(sign)](_number(operand, names))
        case ast.Call(ast.Name(name), [argument], []) if name in _FUNCTIONS:
            return _FUNCTIONS[name](_number(argument, names))
        case ast.ListComp(
            item,
            [
                ast.comprehension(
                    ast.Name(name), ast.Call(ast.Name("range"), ends, []), ifs=[], is_async=0
                )
            ],
        ):
            if any(isinstance(part, ast.ListComp) for part in ast.walk(item)):
                raise ValueError("one range in another")
            steps = range(*(_number(end, names) for end in ends))
            if len(steps) > MOST_ITEMS:
                raise ValueError("too long")
            return [_value(item, {**names, name: step}) for step in steps]
    raise ValueError(f"not a value: {ast.unparse(node)}")


def _number(node: ast.expr, names: dict[str, int]) -> Any:
    value = _value(node, names)
    if isinstance(value, list):
        raise ValueError("a list is no number")
    return value
