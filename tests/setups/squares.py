"""Work for processes, which find it by this module's name wherever the packages are installed."""

from entityseg_bench.io import InputError


def square(idx: int) -> int:
    if idx == 7:
        raise InputError("f", "w", "seven", "do not")
    return idx * idx
