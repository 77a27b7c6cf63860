"""Fields of loosely typed records: whole numbers as floats or text, null and NaN for nothing.

What cannot be meant otherwise is turned, and counted for a note; what can stays as it is, and the
strict reader names it.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from entityseg_bench.types import Tally

__all__ = [
    "FUSED",
    "RESULT",
    "bare",
    "is_fused",
    "loosely_converted",
    "settle",
    "settle_annotation",
    "settle_category",
    "settle_image",
    "settle_row",
    "settle_segment",
    "whole",
]

T = TypeVar("T")

WHOLE_TEXT = re.compile(r"[+-]?\d{1,18}(\.0*)?")
FUSED = "{n}: the segment was fused of several: it was taken once, with its highest score."
# Text of a single number, as json.dump(default=str) writes tensors and NumPy's numbers.
PRINTED = re.compile(
    r"(?:tensor|array|(?:np\.|numpy\.)?(?:float|u?int)\d+)"
    r"\(\s*\[?([^,\[\]()]+)\]?\s*(?:,[^()]*)?\)"
    r"|\[([^,\[\]()]+)\]"
)


Settler = Callable[[Any, str, Tally], Any]


def whole(value: Any, name: str, tally: Tally) -> Any:
    """Return a whole number that stands as a float or as text as one."""
    if isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**63:
        return int(value)
    if isinstance(value, str) and WHOLE_TEXT.fullmatch(bare(value)):
        tally.add(f"{name} is text in {{n}}: read as a number.")
        return int(bare(value).partition(".")[0])
    return value


def bare(value: str) -> str:
    """Return the number in a text that shows a tensor or a NumPy number, else the text."""
    text = value.strip()
    found = PRINTED.fullmatch(text)
    return (found[1] or found[2]).strip() if found else text


def own_id(value: Any, name: str, tally: Tally) -> Any:
    """Return an id; text stays text, since it may be a name, but for a printed number."""
    if isinstance(value, str) and bare(value) != value.strip():
        return whole(value, name, tally)
    return whole(value, name, tally) if isinstance(value, float) else value


def record_id(value: Any, name: str, tally: Tally) -> Any:
    """Return the id of a record itself, None for what is no number or text: nothing reads it."""
    found = own_id(alone(value), name, tally)
    return found if isinstance(found, int | str) and not isinstance(found, bool) else None


def alone(value: Any) -> Any:
    """Return the one entry of a list, all else as it is."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value


def number(value: Any, name: str, tally: Tally) -> Any:
    """Return a number that stands as text, or alone in a list, as one."""
    if isinstance(value, list) and len(value) == 1:
        tally.add(f"{name} is a list of one number in {{n}}: that number was taken.")
        value = alone(value)
    if isinstance(value, str):
        try:
            found = float(bare(value))
        except ValueError:
            return value
        tally.add(f"{name} is text in {{n}}: read as a number.")
        return found
    return value


def measure(value: Any, name: str, tally: Tally) -> Any:
    """Return a number, None for one that is not finite: what the mask says is taken then."""
    found = number(value, name, tally)
    if isinstance(found, float) and not math.isfinite(found):
        tally.add(f"{name} is {found} in {{n}}: taken as missing, the mask's own counts.")
        return None
    return found


def flag(value: Any, name: str, tally: Tally) -> Any:
    """Return a yes or no; null and NaN are no."""
    value = alone(value)
    if value is None or value != value:
        return 0
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        tally.add(f"{name} is text in {{n}}: read as true or false.")
        return int(value.strip().lower() == "true")
    return whole(value, name, tally)


def box(value: Any, name: str, tally: Tally) -> Any:
    """Return a bbox, None where it says nothing (null or NaN): the mask's is taken then."""
    if not isinstance(value, list) or len(value) not in (0, 4):
        return value
    numbers = [x for x in value if isinstance(x, int | float) and math.isfinite(x)]
    told = [x for x in value if x is not None and not isinstance(x, int | float)]
    return value if told or (value and len(numbers) == len(value)) else None


def category(value: Any, name: str, tally: Tally) -> Any:
    """Return a category id, None for NaN; a name is no id, and is left out with a note."""
    found = whole(alone(value), name, tally)
    if isinstance(found, str):
        tally.add(f"{name} is text that is no number in {{n}}: left out, it is not an id.")
        return None
    return None if isinstance(found, float) and not math.isfinite(found) else found


def text(value: Any, name: str, tally: Tally) -> Any:
    """Return a text; a number is written as one."""
    value = alone(value)
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


# Field -> how it is settled. None drops the field, which is then as if it were missing.
ANNOTATION: Mapping[str, Settler] = {
    "id": record_id, "image_id": own_id, "category_id": category, "iscrowd": flag, "area": measure,
    "bbox": box,
}  # fmt: skip
RESULT: Mapping[str, Settler] = {
    "id": record_id, "image_id": own_id, "category_id": category, "score": number,
}  # fmt: skip
IMAGE: Mapping[str, Settler] = {"id": own_id, "height": whole, "width": whole, "file_name": text}
CATEGORY: Mapping[str, Settler] = {
    "id": whole, "name": text, "supercategory": text, "isthing": flag,
}  # fmt: skip
ROW: Mapping[str, Settler] = {
    "image_id": own_id,
    "file_name": text,
    "category_id": whole,
    "id": whole,
    "value": whole,
    "area": number,
    "iscrowd": flag,
}
SEGMENT: Mapping[str, Settler] = {
    "id": whole, "category_id": whole, "iscrowd": flag, "area": measure, "bbox": box,
    "score": number,
}  # fmt: skip


def settle(record: Any, fields: Mapping[str, Settler], tally: Tally) -> Any:
    """Return a record with its fields in the types of the format; null is as missing.

    Args:
        record: As the file has it; what is no object stays as it is.
        fields: How each field is settled; others stay as they are.
        tally: Counts what was turned.
    """
    if not isinstance(record, dict):
        return record
    found = dict(record)
    for name, settler in fields.items():
        if name in found:
            value = settler(found[name], name, tally)
            if value is None:
                del found[name]
            else:
                found[name] = value
    return found


def settle_annotation(record: Any, tally: Tally) -> Any:
    """Return a record of ground truth; one without a segmentation gets one that says nothing."""
    found = settle(record, ANNOTATION, tally)
    if isinstance(found, dict) and found.get("segmentation") is None:
        # Named with all that is known of the record when its mask is asked for.
        found["segmentation"] = []
    return found


def settle_image(record: Any, tally: Tally) -> Any:
    """Return an image's record."""
    return settle(record, IMAGE, tally)


def settle_category(record: Any, tally: Tally) -> Any:
    """Return a category's record."""
    return settle(record, CATEGORY, tally)


def settle_segment(record: Any, tally: Tally) -> Any:
    """Return a segment of panoptic JSON; Hugging Face calls its category ``label_id``."""
    if isinstance(record, dict) and "category_id" not in record and "label_id" in record:
        tally.add("category_id is missing in {n}: label_id was taken (Hugging Face).")
        record = {**record, "category_id": record["label_id"]}
    return settle(record, SEGMENT, tally)


def is_fused(segment: Any) -> bool:
    """Tell whether a segment was made of several, and may stand once for each (Hugging Face)."""
    return isinstance(segment, dict) and segment.get("was_fused") is True


def settle_row(record: Any, tally: Tally) -> Any:
    """Return a record of an index or of panoptic JSON that has an ``image_id``, or a name."""
    if isinstance(record, dict) and "image_id" not in record and record.get("file_name"):
        tally.add("image_id is missing in {n}: file_name was taken.")
        record = {**record, "image_id": record["file_name"]}
    return settle(record, ROW, tally)


def loosely_converted(
    fields: Any, kind: type[T], settled: Callable[[Any, Tally], Any], tally: Tally
) -> T:
    """Convert an object to a struct, with its fields settled where that is needed.

    Raises:
        msgspec.ValidationError: It cannot be converted even so.
    """
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError:
        return msgspec.convert(settled(fields, tally), kind)
