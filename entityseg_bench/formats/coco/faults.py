"""Every record of a COCO file that cannot be decoded, in words: each cause once, with a count."""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from entityseg_bench.check import raise_all
from entityseg_bench.io import InputError

__all__ = ["bad_records", "named_faults"]


def named_faults(
    path: Path, data: bytes, kinds: Mapping[str, type], error: InputError
) -> InputError:
    """Return the error that names what is wrong with records, or the decoder's own.

    Args:
        path: The file.
        data: Its text, which the decoder has refused.
        kinds: Key of each list of records -> what a record is decoded into.
        error: What the decoder says.
    """
    alike: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for where, what, cause in bad_records(data, kinds):
        alike.setdefault((where.partition(" ")[0], cause), []).append((where, what))
    faults = []
    for found in alike.values():
        where, what = found[0]
        more = f" ({len(found)} records are so.)" if len(found) > 1 else ""
        faults.append(InputError(path, where, f"{what}.{more}"))
    try:
        raise_all(faults, "entityseg validate lists every one.")
    except InputError as named:
        return named
    return error


def bad_records(data: bytes, kinds: Mapping[str, type]) -> Iterator[tuple[str, str, str]]:
    """Name every record of a file that cannot be decoded, as (where, what, cause).

    Slow and thorough: for the file that the typed decoder has refused. Nothing is wrong with the
    records of a file that is no JSON.
    """
    try:
        content = json.loads(bytes(data), parse_float=_finite_or_text)
    except (ValueError, RecursionError):
        return
    if isinstance(content, list):
        content = {"annotations": content}
    if not isinstance(content, dict):
        what = f"it holds {type(content).__name__}, not the records of COCO"
        yield "", what, what
        return
    for key, kind in kinds.items():
        records = content.get(key, [] if key == "categories" else None)
        if not isinstance(records, list):
            what = "it is missing or no list"
            yield key, what, what
            continue
        for idx, record in enumerate(records):
            place = f"{key} record {idx}{_names(record)}"
            try:
                msgspec.json.decode(msgspec.json.encode(record), type=kind)
            except msgspec.ValidationError as error:
                yield place, _in_words(str(error), record), str(error)
            except UnicodeEncodeError:
                what = "it holds half a character of UTF-16"
                yield place, what, what


def _finite_or_text(text: str) -> float | str:
    value = float(text)
    return value if math.isfinite(value) else text


def _names(record: Any) -> str:
    if not isinstance(record, dict):
        return ""
    names = [f"{key} {record[key]!r}" for key in ("id", "image_id") if key in record]
    return f" ({', '.join(names)})" if names else ""


def _in_words(error: str, record: Any) -> str:
    """Put the decoder's message and the offending value into one sentence."""
    what, _, field = error.partition(" - at `$.")
    field = field.rstrip("`")
    if not field or not isinstance(record, dict):
        return what
    return f"{field} is {record.get(field.partition('.')[0].partition('[')[0])!r:.80}: {what}"
