"""Which number of a prediction is its score, where a file has none of that name."""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from entityseg_bench.io import InputError

__all__ = ["KNOWN", "ScoreFrom", "known_key"]

# What tools call the score of a prediction, besides "score"; a record with several of a line has
# the first taken.
KNOWN = (
    "confidence", "conf", "predicted_iou", "pred_iou", "iou_pred", "iou_prediction",
    "iou_predictions", "iou_score", "iou_scores", "predicted_score", "pred_score", "pred_scores",
    "scores", "Score", "Confidence", "confidence_score", "prob", "probability", "objectness",
    "objectness_logits", "mask_score", "stability_score",
)  # fmt: skip

Combine = Callable[[list[float]], float]
FUNCTIONS: dict[str, Combine] = {
    "mean": lambda values: math.fsum(values) / len(values),
    "product": math.prod,
    "min": min,
    "max": max,
}
KEY = r"[A-Za-z_][\w.-]*"
CALL = re.compile(rf"({'|'.join(FUNCTIONS)})\(\s*({KEY}(?:\s*,\s*{KEY})*)\s*\)")
FACTORS = re.compile(rf"{KEY}(?:\s*\*\s*{KEY})+")


class ScoreFrom:
    """Take the score of a record from its other fields.

    Args:
        text: A key (``predicted_iou``), a product (``a * b``), or ``mean``, ``product``, ``min`` or
            ``max`` of keys: ``mean(predicted_iou, stability_score)``.

    Raises:
        InputError: It is none of these.
    """

    def __init__(self, text: str) -> None:
        self.text = text.strip()
        call = CALL.fullmatch(self.text)
        if call:
            self._combine, keys = FUNCTIONS[call[1]], call[2].split(",")
        elif FACTORS.fullmatch(self.text):
            self._combine, keys = FUNCTIONS["product"], self.text.split("*")
        elif re.fullmatch(KEY, self.text):
            self._combine, keys = FUNCTIONS["mean"], [self.text]
        else:
            hint = f"It is a key, a product (a * b), or {', '.join(FUNCTIONS)} of keys: mean(a, b)."
            raise InputError("arguments", "--score-from", f"{text!r} is no such thing.", hint)
        self.keys = [key.strip() for key in keys]

    def __call__(self, values: Mapping[str, Any]) -> float | None:
        """Return the score of a record, None where it lacks a key or has no number there."""
        found = [values.get(key) for key in self.keys]
        numbers = [x for x in found if isinstance(x, int | float) and not isinstance(x, bool)]
        if len(numbers) < len(found) or not all(map(math.isfinite, numbers)):
            return None
        return float(self._combine([float(x) for x in numbers]))


def known_key(names: Mapping[str, Any]) -> str | None:
    """Return the first of the names that tools give a score, None where a record has none."""
    return next((name for name in KNOWN if name in names), None)
