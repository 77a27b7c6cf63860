"""Run-length codes and JSON that nobody should have written: a right result or a clear error.

Everything dangerous runs in a child process with a limit on time and memory, so that a hang or a
flood fails the test and not the machine. pycocotools is asked only where a code is valid: on others
it may never return.
"""

import gzip
import json
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from plain_codes import ALPHABET, counts_in
from pycocotools import mask as coco_mask

from entity_api import RLEError, rle
from entityseg_bench.io import InputError
from entityseg_bench.score import evaluate_files
from entityseg_bench.validate import validate

# pycocotools' own decode, under numpy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy")

SCALE = 20 if os.environ.get("ENTITYSEG_DEEP") else 1
PROFILE = {"deadline": None, "derandomize": SCALE == 1, "database": None}


def check(text, height, width):
    """Hold one code against the definition, and against pycocotools where it is safe to ask."""
    code = {"size": [height, width], "counts": text}
    counts = counts_in(text, height * width)
    if counts is None:
        for use in (rle.area, rle.bbox, rle.decode):
            with pytest.raises(RLEError):
                use(code)
        return False
    flat = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    assert rle.area(code) == flat.sum() == coco_mask.area(code)
    np.testing.assert_array_equal(rle.decode(code), flat.reshape(width, height).T)
    np.testing.assert_array_equal(rle.decode(code), coco_mask.decode(code))
    assert rle.iou([code], [code]).tolist() == [[1.0 if flat.any() else 0.0]]
    # pycocotools looks at boxes first, and takes a wrong one of runs that are empty.
    if all(counts[1:]):
        assert coco_mask.iou([code], [code], [0]).tolist() == rle.iou([code], [code]).tolist()
    return True


@settings(max_examples=600 * SCALE, **PROFILE)
@given(st.binary(max_size=12), st.integers(0, 6), st.integers(0, 6))
@example(b"", 0, 3)
@example(b'"', 1, 1)
@example(b'""', 0, 0)
@example(b'"1"', 1, 1)
@example(b"\\\\", 3, 3)
def test_random_bytes(text, height, width):
    check(text, height, width)


@settings(max_examples=600 * SCALE, **PROFILE)
@given(st.lists(st.sampled_from(ALPHABET), max_size=7).map(bytes), st.integers(1, 40))
@example(b"O", 1)
@example(b"oooooo3", 1)
@example(b"ooooooo3", 1)
@example(b"oooooooooooooooooooo0", 1)
@example(b"PPPPPP0", 1)
@example(b"0PPPP4", 1)
def test_random_codes(text, pixels):
    check(text, pixels, 1)
    # Give it the size that it sums to, if there is one.
    counts = [
        sum(found)
        for size in range(120)
        if (found := counts_in(text, size)) is not None
    ]  # fmt: skip
    for size in counts:
        assert check(text, 1, size)


@settings(max_examples=300 * SCALE, **PROFILE)
@given(st.integers(0, 2**32 - 1))
def test_valid_codes_bent_and_cut(seed):
    """Bit flips, cuts, doubled and swapped characters of what an encoder wrote."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 30, 2).tolist()
    flips = np.cumsum(rng.random((width, height)) < rng.choice([0.02, 0.2, 0.7])) % 2
    text = rle.encode(flips.reshape(width, height).T)["counts"].encode()
    assert check(text, height, width)
    at = int(rng.integers(0, len(text)))
    bent = bytearray(text)
    bent[at] ^= 1 << int(rng.integers(0, 8))
    other = int(rng.integers(0, len(text)))
    swapped = bytearray(text)
    swapped[at], swapped[other] = swapped[other], swapped[at]
    for broken in (bytes(bent), bytes(swapped), text[:at], text[at:], text[: at + 1] + text[at:]):
        check(broken, height, width)
    check(text, width, height)
    check(text, height, width + 1)


@settings(max_examples=150 * SCALE, **PROFILE)
@given(st.lists(st.sampled_from([0, 1, 5, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**62, -1])))
def test_plain_counts(counts):
    code = {"size": [1, 6], "counts": counts}
    if sum(counts) == 6 and min(counts) >= 0:
        assert rle.area(code) == sum(counts[1::2])
    else:
        with pytest.raises(RLEError):
            rle.area(code)


def in_a_child(script, *args, seconds=20, megabytes=1500):
    """Run a script under limits; return its output, fail where it hangs, dies or floods memory."""
    limits = f"""
        import faulthandler, resource
        faulthandler.enable()
        resource.setrlimit(resource.RLIMIT_AS, ({megabytes} << 20, {megabytes} << 20))
    """
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(limits) + textwrap.dedent(script), *map(str, args)],
        capture_output=True, text=True, timeout=seconds, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_codes_that_hang_others():
    """Each of these holds pycocotools for ever, or sends it beyond its memory."""
    out = in_a_child(
        """
        from entity_api import rle
        from entity_api.rle import RLEError
        texts = [
            "06", "1", "oooooo1", "oooooo3", "PPPPPP2", "0oooooo3", "1oooooo3oooooo3", "o" * 7,
            "o" * 10**6, "1" * 10**6, "P" * 10**6, "O" * 10**6, "0" * 10**6,
            "\\\\" * 10**6, "0P" * 10**6,
        ]
        sizes = [[0, 0], [2, 2], [1, 2**31], [2**31, 2], [2**16, 2**16], [65535, 65537]]
        sizes += [[2**32, 2**32], [2**63, 2], [2**64, 1]]
        for text in texts:
            for size in sizes:
                try:
                    print(rle.area({"size": size, "counts": text}))
                except RLEError as error:
                    assert len(str(error)) < 200
        """
    )
    # Zeros add up to no pixels, and one code to the largest image there can be.
    assert set(out.split()) == {"0", str(2**32 - 1)}


def test_json_that_hangs_others(tmp_path):
    """Sizes and counts of all magnitudes, through the files."""
    out = in_a_child(
        """
        import itertools, json, pathlib, sys
        from entityseg_bench.score import evaluate_files
        from entityseg_bench.io import InputError
        from entityseg_bench.validate import validate
        folder = pathlib.Path(sys.argv[1])
        numbers = [0, -1, 2, 2**16, 2**31, 2**32 - 1, 2**32, 2**63, 2**64, 10**30]
        texts = ["4", "04", "oooooo1", "oooooo3", "o", "O", "", None, 4]
        texts += [[4], [2**31], [2**64], [-4], [10**30]]
        refused = 0
        for n, text in itertools.product(numbers, texts):
            pairs = ([n, 2], [n, 2]), ([2, n], [2, n]), ([n, n], [2, 2]), ([2, 2], [n, n])
            for size, own in pairs:
                images = [{"id": 1, "height": own[0], "width": own[1]}]
                mask = {"size": size, "counts": text}
                annotation = {"id": 1, "image_id": 1, "segmentation": mask}
                gt = {"images": images, "annotations": [annotation]}
                dt = [{"image_id": 1, "score": 0.5, "segmentation": mask}]
                (folder / "gt.json").write_text(json.dumps(gt))
                (folder / "dt.json").write_text(json.dumps(dt))
                (folder / "none.json").write_text(json.dumps({**gt, "annotations": []}))
                for name in ("gt.json", "none.json"):
                    try:
                        evaluate_files(folder / name, folder / "dt.json")
                    except InputError as error:
                        refused += 1
                        assert name in str(error) or "dt.json" in str(error)
                        problems = list(validate(folder / name, folder / "dt.json"))
                        assert any(p.severity == "error" for p in problems), (size, own, text)
        print(refused)
        """,
        tmp_path,
        seconds=60,
    )
    assert int(out) > 900


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Write a valid pair of files, with every kind of field."""
    folder = tmp_path_factory.mktemp("valid")
    rng = np.random.default_rng(5)
    images = [
        {"id": 1, "height": 9, "width": 7, "file_name": "a\u00e9.jpg"},
        {"id": "b", "height": 4, "width": 30, "file_name": "b"},
    ]
    gt = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "one"}]}
    dt = []
    for k in range(8):
        image = images[k % 2]
        shape = (image["height"], image["width"])
        segments = [
            rle.encode(rng.random(shape) < 0.4),
            {"size": list(shape), "counts": [3, 5, shape[0] * shape[1] - 8]},
            [[0.5, 0.5, 3.5, 0.5, 3.0, 3.25]],
        ]
        gt["annotations"].append(
            {
                "id": k,
                "image_id": image["id"],
                "category_id": 1,
                "segmentation": segments[k % 3],
                "area": 5.5,
                "iscrowd": int(k == 3),
                "bbox": [0, 0, 1, 1],
            }
        )
        dt.append(
            {
                "image_id": image["id"],
                "category_id": 1,
                "segmentation": segments[(k + 1) % 3],
                "score": float(rng.random()),
            }
        )
    (folder / "gt.json").write_text(json.dumps(gt))
    (folder / "dt.json").write_text(json.dumps(dt))
    return folder


def score_or_refuse(gt_path, dt_path):
    """Score two files; the metrics, or None where they are refused, which validate must confirm."""
    try:
        return evaluate_files(gt_path, dt_path).result.metrics
    except InputError as error:
        assert error.file in (str(gt_path), str(dt_path))
        try:
            problems = list(validate(gt_path, dt_path))
        except InputError as same:  # it cannot be opened at all
            assert (same.file, same.what) == (error.file, error.what)
        else:
            assert any(problem.severity == "error" for problem in problems)
        return None


def bend(data, rng):
    """Damage some bytes: flip bits, cut, insert, repeat, replace by what means something."""
    data = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(0, len(data)))
        kind = int(rng.integers(0, 6))
        if kind == 0:
            data[at] ^= 1 << int(rng.integers(0, 8))
        elif kind == 1:
            del data[at : at + int(rng.integers(1, 6))]
        elif kind == 2:
            data[at:at] = data[at : at + int(rng.integers(1, 30))]
        elif kind == 3:
            data[at : at + 1] = bytes(rng.choice(list(b'{}[]",:\\0-.eEntu \n\x00\xff'), 1).tolist())
        elif kind == 4:
            word = (
                b"null",
                b"NaN",
                b"1e999",
                b"-1",
                b"\\u0030",
                b"4294967296",
                b"[]",
                b"{}",
                b'""',
            )
            data[at : at + 2] = word[int(rng.integers(0, len(word)))]
        else:
            digits = [i for i, c in enumerate(data) if chr(c).isdigit()]
            data[digits[int(rng.integers(0, len(digits)))]] = int(rng.integers(48, 58))
        if not data:
            break
    return bytes(data)


@settings(max_examples=300 * SCALE, **PROFILE)
@given(seed=st.integers(0, 2**32 - 1), side=st.sampled_from(["gt", "dt"]))
def test_files_bent(files, tmp_path_factory, seed, side):
    rng = np.random.default_rng(seed)
    paths = {name: files / f"{name}.json" for name in ("gt", "dt")}
    bent = bend(paths[side].read_bytes(), rng)
    paths[side] = tmp_path_factory.getbasetemp() / "bent.json"
    paths[side].write_bytes(bent)
    metrics = score_or_refuse(paths["gt"], paths["dt"])
    if metrics is not None:
        # What is scored is JSON to others too, but for broken text in fields that are not read.
        json.loads(bent.decode("utf-8", "replace"), strict=False)
        assert all(0 <= value <= 1 or np.isnan(value) for value in metrics.values())


@pytest.mark.parametrize("side", ["gt", "dt"])
def test_files_cut_anywhere(files, tmp_path, side):
    paths = {name: files / f"{name}.json" for name in ("gt", "dt")}
    whole = paths[side].read_bytes()
    paths[side] = tmp_path / "cut.json"
    for end in range(0, len(whole), 7):
        paths[side].write_bytes(whole[:end])
        with pytest.raises(InputError, match=r"file is empty|byte \d+"):
            evaluate_files(paths["gt"], paths["dt"])


def test_gzip_cut_and_bent(files, tmp_path):
    packed = gzip.compress((files / "dt.json").read_bytes())
    path = tmp_path / "dt.json.gz"
    expected = evaluate_files(files / "gt.json", files / "dt.json").result.metrics
    path.write_bytes(packed)
    assert score_or_refuse(files / "gt.json", path) == pytest.approx(expected, nan_ok=True)
    for at in range(2, len(packed), 5):
        for broken in (packed[:at], packed[:at] + bytes([packed[at] ^ 16]) + packed[at + 1 :]):
            path.write_bytes(broken)
            # A flip in the header's time stamp is harmless; what is scored is scored right.
            metrics = score_or_refuse(files / "gt.json", path)
            assert metrics is None or metrics == pytest.approx(expected, nan_ok=True)


def test_a_gzip_that_would_take_all_memory(tmp_path, files):
    path = tmp_path / "dt.json.gz"
    path.write_bytes(gzip.compress((files / "dt.json").read_bytes() + b" " * 10**8))
    with pytest.raises(InputError, match="unpacks to more than 200 times its size"):
        evaluate_files(files / "gt.json", path)


def test_masks_crowded_in_a_corner_of_a_huge_image():
    """Many runs in one of the blocks that an image is divided into must not meet each in turn."""
    in_a_child(
        """
        import numpy as np
        from entity_api import _rle, _sweep
        pixels, teeth = 65535**2, np.arange(32768) * 4
        comb = [
            _rle.compress(np.stack([teeth + k, teeth + k + 1], 1).reshape(-1).astype("u4"), pixels)
            for k in range(2)
        ]
        gt, dt = _rle.Runs(comb, pixels), _rle.Runs([comb[1]] * 400, pixels)
        assert _sweep.Spans(gt).intersections(dt).tolist() == [[0, 32768]] * 400
        """
    )


def test_deep_nesting(tmp_path, files):
    for text in ("[" * 10**6, '{"a":' * 10**6, '[{"x":' + "[" * 10**6, '{"annotations":' * 10**5):
        path = tmp_path / "deep.json"
        path.write_text(text)
        assert score_or_refuse(files / "gt.json", path) is None
        assert score_or_refuse(path, files / "dt.json") is None


def test_a_polygon_that_would_take_all_memory(tmp_path):
    out = in_a_child(
        """
        import json, pathlib, sys
        from entityseg_bench.score import evaluate_files
        from entityseg_bench.io import InputError
        folder = pathlib.Path(sys.argv[1])
        zigzag = [number for k in range(20000) for number in (39000 * (k % 2), k % 3000)]
        for height, width, polygon in (
            (3000, 4000, zigzag),
            (2**32 - 1, 1, [0, 0, 0, 4e9, 1, 4e9]),
            (2**16, 2**16, [0, 0, 5, 0, 5, 5]),
        ):
            images = [{"id": 1, "height": height, "width": width}]
            annotation = {"id": 1, "image_id": 1, "segmentation": [polygon]}
            gt = {"images": images, "annotations": [annotation]}
            (folder / "gt.json").write_text(json.dumps(gt))
            (folder / "dt.json").write_text("[]")
            try:
                evaluate_files(folder / "gt.json", folder / "dt.json")
            except InputError as error:
                print("refused" if "gt.json" in str(error) else error)
        """,
        tmp_path,
    )
    assert out.split() == ["refused"] * 3
