"""Every type of annotation in every format, the ways of breaking it, and what validate says."""

import json
import re
from pathlib import Path

import numpy as np
from PIL import Image

from entityseg_bench import demo
from entityseg_bench.cli import main
from entityseg_bench.dataset import EntityDataset
from entityseg_bench.formats.coco import write_results
from entityseg_bench.formats.id_maps import write_id_png
from entityseg_bench.formats.npz import write_npz
from entityseg_bench.formats.panoptic import write_panoptic
from entityseg_bench.formats.semantic import write_semantic
from entityseg_bench.validate import Problem

A, B, C = "demo_01_00000", "demo_01_00002", "demo_01_00003"

# Files of these, and pairs of ground truth and predictions with their options.
INDEX = "entity_npz/annotations.json"
NPZ_A = f"entity_npz/{A}.npz"
PAN = ("pan.json", "panoptic.json")
PAN_PRED = ("set --task panoptic", "pan.json")
SEM = ("sem.txt", "semantic.json")
MAPS = ("sem", "semantic.json")
SEM_PRED = ("set --task semantic", "sem")
NPZ = ("entity_npz", "entity.json")
NPZ_PRED = ("set --task entity --part 01", "entity_npz")
IDS_PRED = ("set --task instance", "instance_ids")

# What is said of predictions without scores, or of formats that are guessed.
UNSCORED = re.compile(
    r"all \d+ scores are |have no scores: each gets 1|read as class maps|place in the list of maps"
)


def write_all_types(folder):
    """Write a data set of five training images of all types, and itself in every other format."""
    root = demo.write_demo(folder / "set", 16, seed=3, size=(60, 120))
    for task in ("entity", "instance", "semantic", "panoptic"):
        truth = EntityDataset.open(root, task, "train", parts=["01"])
        assert [Path(image.file_name).stem for image in truth.images][:3] == [A, B, C]
        write_results(truth, folder / f"{task}.json")
        write_id_png(truth, folder / f"{task}_ids")
        write_npz(truth, folder / f"{task}_npz")
        if task == "semantic":
            write_semantic(truth, folder / "sem.txt", folder / "sem")
        if task == "panoptic":
            write_panoptic(truth, folder / "pan.json", folder / "pan")


def paint(path, change):
    """Change the pixels of a map."""

    def act():
        with Image.open(path) as image:
            found = np.array(image)
        Image.fromarray(change(found)).save(path)

    return act


def edit(path, change):
    """Change the content of JSON in place."""

    def act():
        content = json.loads(Path(path).read_text())
        change(content)
        Path(path).write_text(json.dumps(content))

    return act


def remove(*paths):
    return lambda: [Path(path).unlink() for path in paths]


def text(path, content):
    return lambda: Path(path).write_text(content)


def cut(path):
    """Break a file off in the middle."""
    return lambda: Path(path).write_bytes(Path(path).read_bytes()[: Path(path).stat().st_size // 2])


def arrays(path, **changes):
    """Change arrays of an NPZ file; None takes one away."""

    def act():
        with np.load(path) as found:
            kept = {**found, **changes}
        np.savez(path, **{name: array for name, array in kept.items() if array is not None})

    return act


def segments(content, idx=0):
    return content["annotations"][idx]["segments_info"]


def one_more(key, **changes):
    """Add a copy of the first row of a list."""
    return lambda content: content[key].append({**content[key][0], **changes})


def segment(**changes):
    """Change the first segment of the first image."""
    return lambda content: segments(content)[0].update(changes)


def one_more_segment(**changes):
    return lambda content: segments(content).append({**segments(content)[0], **changes})


def colours(labels):
    return np.dstack([labels, labels, labels ^ 1])


def class_200(labels):
    return np.where(labels == labels[0, 0], 200, labels)


def transposed(rgb):
    return np.ascontiguousarray(np.swapaxes(rgb, 0, 1))


def problems_of(capsys, *arguments):
    """Run validate; return its problems and exit code."""
    code = main(["validate", *arguments, "--split", "train", "--json", "problems.json"])
    printed = capsys.readouterr().out.splitlines()
    problems = [Problem(**row) for row in json.loads(Path("problems.json").read_text())]
    assert "\n".join(printed) == "\n".join(str(problem) for problem in problems)
    return problems, code


def words(pair):
    """Put the two paths before the options."""
    (gt, *options), (pred, *more) = (side.split() for side in pair)
    return [gt, pred, *options, *more]
