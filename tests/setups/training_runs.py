"""Training runs as small as they can be, and what they leave."""

import json

from baselines.run_state import latest_state

# A model and images as small as they can be, for all but the test that it learns.
SMALL = [
    "model.num_queries=12",
    "model.decoder_layers=1",
    "model.encoder_layers=1",
    "model.backbone.frozen_norm=true",
    "model.min_size_test=32",
    "model.max_size_test=64",
    "train.augment.canvas=32",
    "train.loss.num_points=32",
    "train.warmup_steps=0",
    "train.evaluate_every=0",
    "train.log_every=1",
]


def command(demo, out, *settings, preset="mask2former_tiny", extra=()):
    small = list(SMALL)
    if preset.startswith("cropformer"):
        small.remove("train.augment.canvas=32")
        small.append("train.augment.short_sides=32")
    return [preset, "--data", str(demo), "--out", str(out), *extra, "--set", *small, *settings]


def losses(out):
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return {row["step"]: row["loss"] for row in rows if "loss" in row}


def state_of(out):
    return latest_state(out)[0]
