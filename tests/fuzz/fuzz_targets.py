"""One target a reader: it takes any bytes, and gives a right result or the error that it promises.

A target is the files that are damaged, how, and what reads them. Whatever it raises beyond its
promise is a finding.
"""

import json
import math
import pickle
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from fuzz_mutations import (
    bend_bytes,
    bend_columns,
    bend_gzip,
    bend_json,
    bend_lines,
    bend_npz,
    bend_pickled,
    bend_png,
    bend_state,
    bend_value,
)
from fuzz_seeds import SIZES, tiny, write_seeds

from entity_api import RecordError, evaluate
from entity_api.params import EvalParams
from entityseg_bench.formats import Inputs
from entityseg_bench.formats.npz import read_npz
from entityseg_bench.formats.png import opened_image, read_ids, read_labels, read_rgb
from entityseg_bench.io import InputError
from entityseg_bench.leaderboard.entries import add, read_model, read_published
from entityseg_bench.leaderboard.verify import choose
from entityseg_bench.scale.saved import SavedScoring, merge_files
from entityseg_bench.score import evaluate_files
from entityseg_bench.validate import validate

Use = Callable[["Target"], None]
CORPUS = Path(__file__).parent / "corpus"


@dataclass
class Target:
    """A reader that is fuzzed.

    Attributes:
        name: As it is called on the command line.
        use: Reads ``path``; what it raises beyond ``promised`` is a finding.
        file: Which of the files of `write_seeds` is damaged; the others stay whole.
        seeds: More files whose content it may begin as.
        bend: How it is damaged.
        promised: What the reader may raise.
    """

    name: str
    use: Use
    file: str
    seeds: tuple[str, ...] = ()
    bend: Callable[[bytes, random.Random, list[bytes]], bytes] = bend_json
    promised: tuple[type[Exception], ...] = (InputError,)
    folder: Path = field(default_factory=Path)
    contents: list[bytes] = field(default_factory=list)

    @property
    def path(self) -> Path:
        """The damaged file."""
        return self.folder / self.file

    def begin(self, folder: Path) -> "Target":
        """Write the files that it needs; call it once."""
        self.folder = folder
        write_seeds(folder)
        if self.name in MAKERS:
            MAKERS[self.name](folder)
        self.contents = [(folder / name).read_bytes() for name in (self.file, *self.seeds)]
        kept = sorted((CORPUS / self.name).glob("*"))
        self.contents += [path.read_bytes() for path in kept]
        return self

    def run(self, data: bytes) -> bool:
        """Read some bytes; return whether they were taken. Anything unpromised is raised."""
        self.path.write_bytes(data)
        try:
            self.use(self)
        except self.promised as error:
            text = str(error)
            assert text.isprintable() or "\n" in text, repr(text)
            assert len(text) < 20_000
            return False
        return True

    def one(self, seed: int) -> bytes:
        """Make the bytes of a run."""
        rng = random.Random(f"{self.name} {seed}")
        return self.bend(rng.choice(self.contents), rng, self.contents)


def score(gt: Path, dt: Path, **inputs: object) -> None:
    """Score two files; numbers are fractions, or missing."""
    metrics = evaluate_files(gt, dt, inputs=Inputs(**inputs)).result.metrics  # type: ignore[arg-type]
    assert all(math.isnan(value) or 0 <= value <= 1 for value in metrics.values()), metrics


def agree(gt: Path, dt: Path) -> None:
    """Score, and see that validate refuses what evaluate refuses."""
    try:
        score(gt, dt)
    except InputError:
        found = list(validate(gt, dt))
        assert any(problem.severity == "error" for problem in found), "validate says nothing"
        raise


def _results(target: Target) -> None:
    agree(target.folder / "gt.json", target.path)


def _annotations(target: Target) -> None:
    agree(target.path, target.folder / "dt.json")


def _panoptic(target: Target) -> None:
    score(target.path, target.folder / "dt.json", gt_maps=target.folder / "pan")


def _list(target: Target) -> None:
    score(target.path, target.folder / "dt.json", gt_maps=target.folder / "sem")


def _index(target: Target) -> None:
    score(target.folder / "gt.json", target.path.parent)


def _folder(target: Target) -> None:
    agree(target.folder / "gt.json", target.path.parent)


def _states(target: Target) -> None:
    merged = merge_files([target.path])
    result = merged.state.finish()
    assert all(math.isnan(value) or 0 <= value <= 1 for value in result.metrics.values())
    json.dumps(merged.record(result, None))
    merged.save(target.folder / "again")


def _npz(target: Target) -> None:
    table = read_npz(target.folder / "npz")
    table.ground_truth()
    _, faults = table.masks.read_all(table)
    if faults:
        raise next(iter(faults.values()))


def _png(target: Target) -> None:
    refused = []
    for read in (read_ids, read_labels, read_rgb):
        try:
            read(target.path)
        except InputError as error:
            refused.append(error)
    with opened_image(target.path) as image:
        image.getexif()
    if len(refused) == 3:
        raise refused[0]


def _parquet(target: Target) -> None:
    from entityseg_bench.formats.parquet import read_parquet

    read_parquet(target.folder / "parquet", "entity", "val")


def _filed(target: Target) -> None:
    about = dict.fromkeys(("method", "backbone"), "x") | dict.fromkeys(
        ("paper", "code"), "https://x"
    )
    shutil.rmtree(target.folder / "board", ignore_errors=True)
    path = add(target.path, target.folder / "board", model="m", dataset="d", split="val",
               resolution="high", **about)  # fmt: skip
    read_model(path)
    choose(path, json.loads(target.contents[0]))


def _published(target: Target) -> None:
    read_published(target.path)


def _values(target: Target) -> None:
    """Hand Python values to the evaluator, as they come out of any JSON."""
    try:
        content = json.loads(target.path.read_bytes())
    except (ValueError, RecursionError):
        raise RecordError("gt", 0, "it is no JSON") from None
    gt, dt = content if isinstance(content, list) and len(content) == 2 else (content, content)
    if isinstance(gt, str) or isinstance(dt, str):
        # A text is the path of a file; what the system says of that is not this reader's.
        raise RecordError("gt", 0, "it is a path")
    metrics = evaluate(gt, dt, EvalParams()).metrics
    assert all(math.isnan(value) or 0 <= value <= 1 for value in metrics.values()), metrics


def _yaml(target: Target) -> None:
    from baselines.original.yaml_reader import read_yaml

    read_yaml(target.path)


def _weights(target: Target) -> None:
    from baselines.checkpoint import read_config, read_weights

    read_config(target.path)
    read_weights(target.path)


def bend_values(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """Change values alone: what is read stays JSON."""
    content = json.loads(data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        content = bend_value(content, rng)
    return json.dumps(content).encode("utf-8", "surrogatepass")


def _make_values(folder: Path) -> None:
    sides = [json.loads((folder / name).read_bytes()) for name in ("mixed.json", "dt.json")]
    (folder / "values.json").write_text(json.dumps(sides))


def _make_parquet(folder: Path) -> None:
    from entityseg_bench.formats.parquet import write_parquet

    write_parquet(tiny(), folder / "parquet")


def _results_in(folder: Path) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads((folder / "dt.json").read_bytes())
    return found


def _make_lines(folder: Path) -> None:
    lines = [json.dumps(row) for row in _results_in(folder)]
    (folder / "dt.jsonl").write_text("\n".join(lines) + "\n")


def _make_sam(folder: Path) -> None:
    for number in range(1, 4):
        rows = [dict(row) for row in _results_in(folder) if row["image_id"] == number]
        for row in rows:
            row["predicted_iou"] = row.pop("score")
            row["stability_score"], row["point_coords"] = 0.9, [[1.0, 2.0]]
            del row["image_id"]
        (folder / "sam").mkdir(exist_ok=True)
        (folder / "sam" / f"{number}.json").write_text(json.dumps(rows))


def _make_arrow(folder: Path) -> None:
    from pyarrow import ipc, parquet

    from entityseg_bench.formats.arrow import write_arrow

    write_arrow(tiny(), folder / "dt.parquet")
    table = parquet.read_table(folder / "dt.parquet")
    with ipc.new_file(folder / "dt.arrow", table.schema) as writer:
        writer.write_table(table)


def _make_pickled(folder: Path) -> None:
    (folder / "dt.pkl").write_bytes(pickle.dumps(_results_in(folder), protocol=2))
    masks = np.zeros((1, 9, 7), bool)
    masks[0, 2:5, 1:4] = True
    arrays = [{"image_id": 1, "scores": np.array([0.5]), "masks": masks}]
    (folder / "arrays.pkl").write_bytes(pickle.dumps(arrays, protocol=4))


def _make_masks(folder: Path) -> None:
    for number, (height, width) in enumerate(SIZES, start=1):
        masks = np.zeros((2, height, width), bool)
        masks[0, 0, 0] = masks[1, -1, -1] = True
        (folder / "masks").mkdir(exist_ok=True)
        np.savez(folder / "masks" / f"{number}.npz", masks=masks, scores=np.array([0.5, 0.25]))


def _make_states(folder: Path) -> None:
    scoring = evaluate_files(folder / "gt.json", folder / "dt.json", boundary=True)
    SavedScoring.of(scoring).save(folder / "state")


def _make_published(folder: Path) -> None:
    row = {"method": "A", "backbone": "B", "dataset": "D", "task": "entity", "resolution": "low"}
    row |= {"percent": {"APe": 38.8}, "source": "s", "mark": "first-party", "parameters": 4}
    source = {"title": "t", "url": "https://x"}
    content = {"schema": 1, "sources": {"s": source}, "rows": [row]}
    (folder / "published.json").write_text(json.dumps(content))


def _make_yaml(folder: Path) -> None:
    (folder / "base.yaml").write_text("MODEL: {A: 1, B: [1, 2]}\n")
    (folder / "a.yaml").write_text(
        "_BASE_: base.yaml\nMODEL:\n  C: &x [1, 2.5, yes]\n  D: *x\n  E: (800, 1333)\n"
        'INPUT:\n  SIZES: !!python/object/apply:eval ["[int(x * 0.1 * 99) for x in range(1, 9)]"]\n'
        "  F: !!python/tuple [1, 2]\n"
    )


def _make_weights(folder: Path) -> None:
    import safetensors.torch
    import torch

    state = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(1, dtype=torch.int64)}
    metadata = {"config": '{"task": "entity"}', "format": "pt"}
    safetensors.torch.save_file(state, folder / "a.weights", metadata)
    torch.save({"model": state}, folder / "b.pth")
    torch.save(state, folder / "old.pth", _use_new_zipfile_serialization=False)
    content = {"model": {"a": np.arange(6.0)}, "__author__": "x", "matching_heuristics": True}
    (folder / "c.pkl").write_bytes(pickle.dumps(content, protocol=2))


MAKERS = {
    "arrow": _make_arrow,
    "lines": _make_lines,
    "masks": _make_masks,
    "parquet": _make_parquet,
    "pickled": _make_pickled,
    "published": _make_published,
    "sam": _make_sam,
    "states": _make_states,
    "values": _make_values,
    "weights": _make_weights,
    "yaml": _make_yaml,
}


def targets() -> dict[str, Target]:
    """Return every target of files by its name."""
    found = (
        Target("results", _results, "dt.json"),
        Target("annotations", _annotations, "gt.json", ("mixed.json",)),
        Target("gzip", _results, "dt.json.gz", bend=bend_gzip),
        Target("lines", _results, "dt.jsonl", bend=bend_lines),
        Target("arrow", _results, "dt.parquet", ("dt.arrow",), bend_columns),
        Target("pickled", _results, "dt.pkl", ("arrays.pkl",), bend_pickled),
        Target("sam", _folder, "sam/1.json"),
        Target("masks", _folder, "masks/1.npz", bend=bend_npz),
        Target("states", _states, "state", bend=bend_state),
        Target("panoptic", _panoptic, "pan.json"),
        Target("index", _index, "npz/annotations.json"),
        Target("id_index", _index, "ids/annotations.json"),
        Target("list", _list, "sem.txt", bend=bend_bytes),
        Target("png", _png, "pan/1.png", ("ids/1.png", "sem/2.png"), bend_png),
        Target("npz", _npz, "npz/1.npz", ("npz/2.npz",), bend_npz),
        Target("parquet", _parquet, "parquet/entity/val-00000-of-00001.parquet", (), bend_bytes),
        Target("filed", _filed, "result.json"),
        Target("published", _published, "published.json"),
        Target("values", _values, "values.json", (), bend_values, (ValueError,)),
        Target("yaml", _yaml, "a.yaml", ("base.yaml",), bend_bytes),
        Target("weights", _weights, "a.weights", ("b.pth", "old.pth", "c.pkl"), bend_bytes),
    )
    return {target.name: target for target in found}
