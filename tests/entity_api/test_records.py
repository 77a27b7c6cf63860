"""The scanner of COCO records against a decoder that knows all of JSON."""

import json
import math

import msgspec
import numpy as np
import pytest
from flat_masks import SETTINGS
from hypothesis import example, given, settings
from hypothesis import strategies as st

from entity_api import _records, rle


class Mask(msgspec.Struct):
    size: tuple[int, int]
    counts: str


class Result(msgspec.Struct):
    image_id: int | str
    score: float
    segmentation: msgspec.Raw
    id: int | str | None = None
    category_id: int | None = None


class Annotated(msgspec.Struct):
    image_id: int | str
    segmentation: msgspec.Raw
    id: int | str | None = None
    category_id: int | None = None
    area: float | None = None
    iscrowd: int | bool = 0


def scan(text, predictions=True):
    found = _records.scan(text, 0, predictions)
    return None if found is None or text[found.end :].strip() else found


def agrees(text, predictions):
    """Hold what is scanned against what is decoded; tell whether it was scanned at all."""
    found = scan(text, predictions)
    if found is None:
        return False
    rows = msgspec.json.decode(text, type=list[Result if predictions else Annotated])
    assert found.n == len(rows) == len(found.codes)
    assert found.image_ids.tolist() == [row.image_id for row in rows]
    without = [-1 if row.category_id is None else row.category_id for row in rows]
    assert found.category_ids.tolist() == without
    ids = [None] * found.n if found.ids is None else found.ids.tolist()
    assert ids == [row.id for row in rows]
    if predictions:
        # To the last bit, -0.0 too.
        assert list(map(repr, found.scores.tolist())) == [repr(row.score) for row in rows]
    else:
        areas = [math.nan if row.area is None else row.area for row in rows]
        np.testing.assert_array_equal(found.areas, areas)
        assert found.iscrowd.tolist() == [bool(row.iscrowd) for row in rows]
    for k, row in enumerate(rows):
        start, end = found.places[k].tolist()
        assert text[start:end] == bytes(memoryview(row.segmentation))
        try:
            bytes(memoryview(row.segmentation)).decode()
        except UnicodeDecodeError:
            # Counts that are no UTF-8 are found, too; whoever decodes the mask refuses them.
            with pytest.raises(ValueError, match="no run-length code"):
                rle.decode({"size": [1, 1], "counts": found.codes[k][1:-1]})
            continue
        mask = msgspec.json.decode(row.segmentation, type=Mask)
        assert tuple(found.sizes[k].tolist()) == mask.size
        assert msgspec.json.decode(found.codes[k]) == mask.counts
    return True


SCORES = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(10**25), 10**25),
    st.decimals(allow_nan=False, allow_infinity=False)
    .map(lambda d: float(d))
    .filter(math.isfinite),
)
RECORD = st.fixed_dictionaries(
    {
        "image_id": st.integers(-(10**17), 10**17),
        "score": SCORES,
        "segmentation": st.fixed_dictionaries(
            {"size": st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)),
             "counts": st.text(st.sampled_from("0aZ\\o"), max_size=9)}
        ),
    },
    optional={
        "category_id": st.integers(-5, 5),
        "area": st.one_of(st.none(), st.floats(0, 1e9)),
        "iscrowd": st.sampled_from([0, 1, True, False]),
        "bbox": st.lists(st.floats(0, 9), max_size=4),
        "extra": st.dictionaries(st.sampled_from("ab"), st.one_of(st.none(), st.text("xé"))),
    },
)  # fmt: skip


@SETTINGS
@given(st.lists(RECORD, max_size=5), st.booleans(), st.booleans(), st.sampled_from([None, 1]))
def test_usual_records_are_read(records, predictions, with_ids, indent):
    if with_ids:
        records = [{"id": idx, **record} for idx, record in enumerate(records)]
    text = json.dumps(records, indent=indent, ensure_ascii=False).encode()
    assert agrees(text, predictions)


def test_counts_that_are_no_text_are_found():
    text = b'[{"image_id": 1, "score": 1, "segmentation": {"size": [4, 5], "counts": "0\xff0"}}]'
    assert agrees(text, True)


CHANGES = [bytes([code]) for code in b'0159.-+eE"\\,:{}[] ntu\x01\xff']


@settings(SETTINGS, max_examples=1500)
@given(st.data())
def test_what_is_read_is_what_a_decoder_reads(data):
    """One or two bytes of a sound text are changed: most are JSON no more, some are others."""
    record = {
        "image_id": 12, "category_id": 1, "id": 3, "score": 0.25, "bbox": [0.5, -1e3],
        "segmentation": {"size": [4, 5], "counts": "0\\\\a"}, "area": 3.5, "iscrowd": 0,
        "x": {"y": None, "z": True},
    }  # fmt: skip
    text = bytearray(json.dumps([record, {**record, "id": 4}]).encode())
    for _ in range(data.draw(st.integers(1, 2))):
        at = data.draw(st.integers(0, len(text) - 1))
        new = data.draw(
            st.sampled_from([b"", *(bytes([c]) for c in b'0159.-+eE"\\,:{}[] ntu\x01\xff')])
        )
        text[at : at + data.draw(st.integers(0, 1))] = new
    agrees(bytes(text), data.draw(st.booleans()))


MASK = b'{"size":[1,2],"counts":"02"}'


def record(score=b"0.5", mask=MASK, more=b""):
    return b'{"image_id":1,"score":' + score + b',"segmentation":' + mask + more + b"}"


@pytest.mark.parametrize(
    "score",
    b"0.1 -0.0 5e-324 1e-400 0.30000000000000004 123456789012345678901234567890 1E5 0 1e2 "
    b"0.12345678901234567 9007199254740993 0.000000000000000000000001 1.7976931348623157e308 "
    b"0.00012345 123456789012345.5 1234567890.12345e-3".split(),
)  # fmt: skip
def test_scores_to_the_last_bit(score):
    assert agrees(b"[" + record(score) + b"]", True)


@pytest.mark.parametrize(
    "text",
    [
        b"", b"[", b"{}", b"[1]", b"[" + record() + b"]x", b"[" + record() + b",]", b"[{}]",
        b'{"annotations":[' + record() + b"]}",
        b"[" + record(b"1e999") + b"]", b"[" + record(b'"1"') + b"]", b"[" + record(b"01") + b"]",
        b"[" + record(b"NaN") + b"]", b"[" + record(b"null") + b"]",
        b"[" + record(mask=b'{"size":[1,2],"counts":[0,2]}') + b"]",
        b"[" + record(mask=b"[[0,0,1,1,1,0]]") + b"]",
        b"[" + record(mask=b'{"size":[1,2],"counts":"0\\u0032"}') + b"]",
        b"[" + record(mask=b'{"size":[-1,2],"counts":"02"}') + b"]",
        b"[" + record(mask=b'{"size":[1,4294967296],"counts":"02"}') + b"]",
        b"[" + record(more=b',"id":"a"') + b"]", b"[" + record(more=b',"image_id":2') + b"]",
        b"[" + record(more=b',"id":1') + b"," + record() + b"]",
        b"[" + record(more=b',"category_id":1.0') + b"]",
        b"[" + record(more=b',"a\\u0062":1') + b"]",
        b"[" + record(more=b',"x":' + b"[" * 40 + b"]" * 40) + b"]",
        b"[" + record(more=b',"id":9999999999999999999') + b"]",
    ],
)  # fmt: skip
def test_other_text_is_left_to_the_decoder(text):
    assert scan(text) is None


@example(b"[]")
@example(b" [ ] ")
@given(st.just(b"[\n" + record() + b" , " + record(more=b',"x":[]') + b"\t]\r\n"))
@settings(SETTINGS, max_examples=1)
def test_white_space(text):
    assert agrees(text, True)


def test_the_list_may_be_a_part_of_the_text():
    text = b'{"annotations":' + b"[" + record() + b"]" + b',"images":[]}'
    found = _records.scan(text, 15, False)
    assert (found.n, found.end) == (1, 15 + 2 + len(record()))
    assert found.places.tolist()[0][0] == text.index(MASK)
    with pytest.raises(ValueError, match="lies in the text"):
        _records.scan(text, len(text) + 1, False)


RESULTS = (
    b'[ {"image_id":7,"score":0.5,"segmentation":{"size":[2,2],"counts":"22"}} ,\n'
    b'{"id":3,"segmentation":{"counts":"4","size":[2,2]},"score":1,"image_id":8},'
    b'{"image_id":9,"score":0,"segmentation":{"size":[2,2],"counts":"4"},"x":{"y":[{}, "]"]}} ]'
)


@pytest.mark.parametrize("end", range(2, len(RESULTS) + 1))
def test_an_index_of_a_text_that_breaks_off_goes_on_with_the_rest(end):
    """Wherever it breaks off, the records of both pieces are those of the list."""
    rows = msgspec.json.decode(RESULTS, type=list[Result])
    head, at, ended = _records.index(RESULTS[:end], 1)
    assert ended == (end == len(RESULTS))
    tail, rest, tail_ended = _records.index(RESULTS, at)
    if not ended:
        assert tail_ended
        assert RESULTS[rest:] == b"]"
    ids = [*head.image_ids.tolist(), *([] if ended else tail.image_ids.tolist())]
    assert ids == [row.image_id for row in rows]
    for start, stop in head.places.tolist():
        assert msgspec.json.decode(RESULTS[start:stop], type=Result) in rows


@pytest.mark.parametrize("text", [b"", b"  ", b"]", b" ]x"])
def test_an_index_of_no_records(text):
    found, at, ended = _records.index(text, 0)
    assert (found.n, ended) == (0, b"]" in text)
    assert text[at:] == text.lstrip()


@pytest.mark.parametrize("odd", [b'{"image_id":1}', b"7", b'{"image_id":"a"', b"}"])
def test_an_index_stops_before_what_it_does_not_know(odd):
    first = RESULTS.index(b"{", 3)
    found, at, ended = _records.index(RESULTS[:first] + odd + RESULTS[first:], 1)
    assert (found.n, ended) == (0, False) if at < first else (found.n >= 1, ended) == (True, False)
