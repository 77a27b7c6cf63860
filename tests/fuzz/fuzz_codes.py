"""Run-length codes at random, against a reader that follows the definition line by line."""

import random

from entity_api import RLEError, rle

# Characters "0" to "o" are run-length codes; 32 of them end a number, 32 say that it goes on.
ALPHABET = "".join(map(chr, range(48, 112)))
MOST_PIXELS = 2**32 - 1


def counts_in(text: str, pixels: int) -> list[int] | None:
    """Read compressed counts as their definition says, or give None where they are none."""
    counts: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 30:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        value -= (bits >> 4 & 1) << shift
        if len(counts) > 2:
            value += counts[-2]
        if value < 0:
            return None
        counts.append(value)
        value = shift = 0
    return counts if not shift and sum(counts) == pixels else None


def write(counts: list[int]) -> str:
    """Compress counts as COCO does."""
    text = []
    for idx, count in enumerate(counts):
        left = count - counts[idx - 2] if idx > 2 else count
        more = True
        while more:
            bits = left & 31
            left >>= 5
            more = left != (-1 if bits & 16 else 0)
            text.append(ALPHABET[bits | 32 * more])
    return "".join(text)


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
    text = write(counts)
    for _ in range(rng.choice((0, 1, 1, 2, 3))):
        at = rng.randrange(len(text) + 1)
        letter = (
            rng.choice(ALPHABET)
            if rng.random() < 0.9
            else chr(rng.choice((0, 34, 47, 92, 112, 233)))
        )
        text = text[:at] + letter * rng.randrange(2) + text[at + rng.randrange(2) :]
    return text, height, width


def check(text: str, height: int, width: int) -> bool:
    """Hold the reader against the definition; return whether it is a code."""
    code = {"size": [height, width], "counts": text}
    expected = counts_in(text, height * width)
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
