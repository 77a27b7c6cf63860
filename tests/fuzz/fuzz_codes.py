"""Run-length codes at random, against a reader that follows the definition line by line."""

import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "setups"))

from plain_codes import ALPHABET, counts_in, write_counts

from entity_api import RLEError, rle


def make(rng: random.Random) -> tuple[str, int, int]:
    """Make a code, right or nearly so, and the height and width of its image."""
    height, width = rng.choice(((1, 1), (2, 3), (7, 5), (100, 80), (65535, 65537), (0, 4)))
    pixels, counts = height * width, []
    for _ in range(rng.randrange(8)):
        count = rng.choice((0, 1, 2, 31, 32, 1000, rng.randrange(pixels + 1)))
        if sum(counts) + count > pixels:
            break
        counts.append(count)
    counts.append(pixels - sum(counts))
    text = write_counts(counts).decode()
    for _ in range(rng.choice((0, 1, 1, 2, 3))):
        at = rng.randrange(len(text) + 1)
        letter = (
            chr(rng.choice(ALPHABET))
            if rng.random() < 0.9
            else chr(rng.choice((0, 34, 47, 92, 112, 233)))
        )
        text = text[:at] + letter * rng.randrange(2) + text[at + rng.randrange(2) :]
    return text, height, width


def check(text: str, height: int, width: int) -> bool:
    """Hold the reader against the definition; return whether it is a code."""
    code = {"size": [height, width], "counts": text}
    expected = counts_in(text.encode(), height * width)
    try:
        area = rle.area(code)
    except RLEError as error:
        assert expected is None, (text, height, width, expected)
        assert len(str(error)) < 200
        return False
    assert expected is not None, (text, height, width, area)
    assert area == sum(expected[1::2]), (text, height, width)
    return True


def run(seed: int, runs: int) -> tuple[int, int]:
    """Do so many runs; return how many codes were right and how many were refused."""
    rng = random.Random(f"codes {seed}")
    right = sum(check(*make(rng)) for _ in range(runs))
    return right, runs - right
