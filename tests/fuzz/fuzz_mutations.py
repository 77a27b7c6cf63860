"""Damage bytes and JSON values at random: what a seed decides, and nothing else."""

import copy
import gzip
import io
import json
import pickle
import random
import struct
import tempfile
import zipfile
import zlib
from pathlib import Path

import numpy as np

from entity_api.state_file import read_arrays, write_arrays

# Bytes that mean something in one of the formats, and numbers on the edge of a type.
WORDS = [
    b"null", b"NaN", b"Infinity", b"1e999", b"-1", b"-0.0", b"0.5", b"4294967296", b"2147483648",
    b"9223372036854775808", b"1" * 40, b"[]", b"{}", b'""', b'"\\u0000"', b'"\\ud800"', b"true",
    b"\x00", b"\xff", b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\x80", b"\\", b'"', b"{", b"}",
    b"[", b"]", b",", b":", b"\n", b"IHDR", b"IDAT", b"PLTE", b"tRNS", b"PK\x03\x04", b"PAR1",
    b"\x93NUMPY", b"&a ", b"*a", b"!!python/", b"<<: ", b"../", b"/", b"- ", b"? ",
]  # fmt: skip
VALUES = [
    None, True, False, 0, 1, -1, 2, 7, 2**31, 2**32, 2**53 + 1, 2**63, 2**64, 10**30, -(2**63),
    0.0, -0.0, 0.5, 1e-320, 1e308, -1e308, float("nan"), float("inf"), float("-inf"), "", "a",
    "\x00", "\ud800", "\u202e", "../a", "/etc/passwd", "C:\\a", "a" * 300, "oooooo1", "0P", "1e999",
    [], {}, [[]], [None], [0.5, 0.5], [1, 2, 3], [0, 0, 1, 1], {"size": [1, 1], "counts": "1"},
    {"counts": [1], "size": [1]}, [[0, 0, 4, 0, 4, 4]], [[1e30] * 6], "entity", "semantic",
]  # fmt: skip
LONGEST = 1 << 16
# Kind of an array -> numbers on its edge.
NUMBERS = {
    "i": [0, 1, -1, 2, 100, 2**31 - 1, -(2**31)],
    "u": [0, 1, 2, 3, 4, 255],
    "f": [0.0, -0.0, 1e308, -1e308, float("nan"), float("inf"), float("-inf")],
}


def bend_bytes(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """Flip, cut, repeat, insert and splice, a few times."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        at = rng.randrange(len(found) + 1)
        end = min(at + rng.choice((1, 1, 2, 4, 8, 60)), len(found))
        kind = rng.randrange(8)
        if kind == 0 and at < len(found):
            found[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and at < len(found):
            found[at] = rng.randrange(256)
        elif kind == 2:
            del found[at:end]
        elif kind == 3:
            found[at:at] = found[at:end] * rng.choice((1, 1, 2, 50))
        elif kind == 4:
            found[at:end] = rng.choice(WORDS)
        elif kind == 5:
            found[at:at] = rng.choice(WORDS)
        elif kind == 6:
            other = rng.choice(others)
            start = rng.randrange(len(other) + 1)
            found[at:end] = other[start : start + rng.randrange(64)]
        else:
            del found[at:]
        del found[LONGEST:]
    return bytes(found)


def bend_json(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """Change values, keys and the order of a JSON text, here and there its bytes too."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return bend_bytes(data, rng, others)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        content = bend_value(content, rng)
    text = json.dumps(content).encode("utf-8", "surrogatepass")
    return bend_bytes(text, rng, others) if rng.random() < 0.15 else text


def bend_gzip(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """Change what is packed, or its packing."""
    if rng.random() < 0.2:
        return bend_bytes(data, rng, others)
    return gzip.compress(bend_json(gzip.decompress(data), rng, others), 1, mtime=0)


def bend_lines(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """Change the JSON of a line, or how lines are parted."""
    lines = data.splitlines()
    if rng.random() < 0.2 or not lines:
        return bend_bytes(data, rng, others)
    at = rng.randrange(len(lines))
    lines[at] = bend_json(lines[at], rng, others)
    return b"\n".join(lines)


def bend_columns(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """Change values or columns of a Parquet file, or write it as Arrow, or damage its bytes."""
    import pyarrow as pa
    from pyarrow import ipc, parquet

    if rng.random() < 0.3 or data.startswith(b"ARROW1"):
        return bend_bytes(data, rng, others)
    try:
        columns = parquet.read_table(io.BytesIO(data)).to_pydict()
    except (pa.ArrowException, OSError, ValueError):  # one that was found before
        return bend_bytes(data, rng, others)
    if rng.random() < 0.5:
        # One type in all rows, as Arrow has it.
        name = rng.choice(list(columns))
        columns[name] = [copy.deepcopy(rng.choice(VALUES))] * len(columns[name])
    else:
        bend_value(columns, rng)
    out = io.BytesIO()
    try:
        table = pa.table(columns)
        if rng.random() < 0.3:
            with ipc.new_file(out, table.schema) as writer:
                writer.write_table(table)
        else:
            parquet.write_table(table, out)
    except (pa.ArrowException, TypeError, ValueError, OverflowError, AttributeError):
        return bend_bytes(data, rng, others)
    return out.getvalue()


def bend_pickled(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """Change the values of a pickle, or its bytes."""
    if rng.random() < 0.5:
        return bend_bytes(data, rng, others)
    # Our own two: nothing else is unpickled.
    content = bend_value(pickle.loads(rng.choice(others[:2])), rng)
    return pickle.dumps(content, protocol=rng.choice((2, 4, 5)))


def bend_state(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """Change an array of a saved state or what is said of them, or the bytes."""
    import pyarrow as pa

    if rng.random() < 0.3:
        return bend_bytes(data, rng, others)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state"
        path.write_bytes(data)
        arrays, about = read_arrays(path)
        if rng.random() < 0.3:
            about = bend_value(about, rng)
        else:
            name = rng.choice(list(arrays))
            arrays[name] = _bent_array(arrays[name].copy(), rng)
        try:
            write_arrays(path, arrays, about)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            return bend_bytes(data, rng, others)
        return path.read_bytes()


def _bent_array(values: np.ndarray, rng: random.Random) -> np.ndarray:
    if values.size and rng.random() < 0.6:
        values.flat[rng.randrange(values.size)] = rng.choice(NUMBERS[values.dtype.kind])
        return values
    return rng.choice((values[:-1], values[:0], values.ravel(), values[None], values[::-1]))


def bend_npz(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """Change an array, its header or its name, or the archive's bytes."""
    if rng.random() < 0.3:
        return bend_bytes(data, rng, others)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(list(members))
    head = members[name][:128]
    # A header is padded to 64 bytes, so that most of what is there are spaces.
    members[name] = bend_bytes(head, rng, list(members.values())) + members[name][128:]
    if rng.random() < 0.1:
        other = bend_bytes(name.encode(), rng, [b"ids.npy"]).decode("latin1").replace("\0", "x")
        members[other or "masks"] = members.pop(name)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", rng.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED))) as made:
        for own, content in members.items():
            made.writestr(own, content)
    return out.getvalue()


def bend_png(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """Change a chunk and give it a right checksum, or change the file's bytes."""
    if rng.random() < 0.3:
        return bend_bytes(data, rng, others)
    chunks, at = [], 8
    while at + 12 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    if not chunks:
        return bend_bytes(data, rng, others)
    idx = rng.randrange(len(chunks))
    kind, content = chunks[idx]
    if kind == b"IDAT" and rng.random() < 0.7:
        content = zlib.compress(bend_bytes(_inflated(content), rng, others))
    else:
        content = bend_bytes(content, rng, others)
    chunks[idx] = (rng.choice((kind, kind, kind, b"tRNS", b"PLTE", b"eXIf", b"iCCP")), content)
    parts = [data[:8]]
    for name, inner in chunks:
        parts += [struct.pack(">I", len(inner)), name, inner]
        parts.append(struct.pack(">I", zlib.crc32(name + inner)))
    return b"".join(parts)


def _inflated(content: bytes) -> bytes:
    try:
        return zlib.decompress(content)
    except zlib.error:
        return content


def bend_value(content: object, rng: random.Random) -> object:
    """Change one place of plain values."""
    places = list(_places(content))
    if not places:
        return copy.deepcopy(rng.choice(VALUES))
    holder, key = rng.choice(places)
    kind = rng.randrange(6)
    if kind <= 2:
        holder[key] = copy.deepcopy(rng.choice(VALUES))
    elif kind == 3:
        del holder[key]
    elif kind == 4:
        other, place = rng.choice(places)
        # A copy: a value that holds itself could not be written.
        holder[key] = copy.deepcopy(other[place])
    elif isinstance(holder, dict):
        holder[rng.choice((str(key) + "x", "id", "image_id", "score", "counts", "size", ""))] = (
            holder.pop(key)
        )
    else:
        holder.insert(key, copy.deepcopy(holder[key]))
    return content


def _places(value: object):
    """Yield each place of a value that holds another."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        keys = one if isinstance(one, dict) else range(len(one)) if isinstance(one, list) else ()
        for key in list(keys):
            yield one, key
            waiting.append(one[key])
