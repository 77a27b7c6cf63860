"""The original's demo command, typed as it stands, as arguments of `baselines.predict`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from baselines.original.pairs import is_key, read_pairs, with_pairs

__all__ = ["is_original_demo", "translate_demo"]


def is_original_demo(argv: Sequence[str]) -> bool:
    """Say whether arguments are those of the original's demo scripts."""
    return any(text == "--input" or text.startswith("--input=") for text in argv)


def translate_demo(argv: Sequence[str]) -> list[str]:
    """Return the arguments of `baselines.predict` that do what the original's demo does.

    Several inputs, as a shell makes of a pattern, are written as a list into the output folder.

    Args:
        argv: ``--config-file C --input I ... --output O --opts MODEL.WEIGHTS W``; the keys and
            values may stand without ``--opts``, as its README has them in one place. Options that
            the original has not are passed on.

    Raises:
        ValueError: Keys that are not known, all named; no weights; or a share of the images, which
            torchrun gives here.
    """
    parser = argparse.ArgumentParser(prog="python -m baselines.predict", allow_abbrev=False)
    parser.add_argument("--config-file", required=True)
    parser.add_argument("--input", nargs="+", required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--opts", nargs="*", default=[])
    parser.add_argument("--confidence-threshold", type=float, default=0.5)
    parser.add_argument("--thread-id", type=int, default=0)
    parser.add_argument("--thread-num", type=int, default=1)
    args, others = parser.parse_known_args(argv)
    first = next((k for k, text in enumerate(others) if is_key(text)), len(others))
    own, pairs = others[:first], [*args.opts, *others[first:]]
    if args.thread_num != 1:
        raise ValueError(
            "--thread-num shares out the images; here: torchrun --nproc-per-node "
            f"{args.thread_num} -m baselines.predict ..."
        )
    given = read_pairs(pairs)
    weights = given.pop("MODEL.WEIGHTS", None)
    if weights is None:
        raise ValueError("no weights are named: MODEL.WEIGHTS FILE")
    device = given.pop("MODEL.DEVICE", None)
    config = with_pairs(args.config_file, given, args.output)
    translated = ["--config-file", config, "--weights", weights]
    translated += ["--images", _images(args.input, args.output), "--out", str(args.output)]
    translated += ["--threshold", str(args.confidence_threshold)]
    translated += ["--device", device] if device else []
    return translated + ([] if "--write" in own else ["--write", "drawings"]) + own


def _images(inputs: Sequence[str], output: Path) -> str:
    if len(inputs) == 1:
        return inputs[0]
    output.mkdir(parents=True, exist_ok=True)
    listed = output / "input.txt"
    lines = "".join(f"{Path(name).resolve()}\n" for name in inputs)
    listed.write_text(lines, encoding="utf-8", newline="\n")
    return str(listed)
