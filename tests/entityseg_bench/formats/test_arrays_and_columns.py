"""NPZ files of masks and scores, and predictions as Parquet and Arrow columns."""

import json

import numpy as np
import pytest
from odd_inputs import (
    IDS,
    NAMES,
    PREDICTIONS,
    box_mask,
    edited,
    results,
    save,
    saved,
    scored,
    truth,
)

from entity_api import rle
from entityseg_bench.cli import main
from entityseg_bench.io import InputError


def stem(k):
    return NAMES[k].rpartition(".")[0]


def arrays(k):
    masks = np.stack([box_mask(*box) for box, _ in PREDICTIONS[k]])
    return masks, np.array([score for _, score in PREDICTIONS[k]])


def npz_folder(path, masks="masks", scores="scores", kind=bool, name=stem, **more):
    path.mkdir()
    for k in range(3):
        found, values = arrays(k)
        dense = found * 255 if kind == "grey" else found
        dense = dense.astype(np.uint8 if kind == "grey" else kind)
        np.savez_compressed(path / f"{name(k)}.npz", **{masks: dense, scores: values}, **more)
    return path


NPZ = {
    "plain": {},
    "transformers": {"masks": "pred_masks", "scores": "iou_scores"},
    "one_channel": {},
    "grey": {"kind": "grey"},
    "floats": {"kind": np.float32},
    "segmentations": {"masks": "segmentations", "scores": "iou_predictions"},
    "ids": {"name": lambda k: str(IDS[k])},
}


@pytest.mark.parametrize("name", NPZ)
def test_npz(name, tmp_path):
    gt, plain = saved(tmp_path, truth(), results())
    out = npz_folder(tmp_path / "out", **NPZ[name])
    if name == "one_channel":
        for k in range(3):
            masks, scores = arrays(k)
            np.savez(out / f"{stem(k)}.npz", masks=masks[:, None], scores=scores[:, None])
    metrics, said = scored(gt, out)
    assert metrics == pytest.approx(scored(gt, plain)[0], nan_ok=True)
    assert any("called like" in line for line in said)
    first = [row for row in results() if row["image_id"] == IDS[0]]
    wanted, _ = scored(gt, save(tmp_path / "first.json", first))
    file = out / f"{NPZ[name].get('name', stem)(0)}.npz"
    assert scored(gt, file)[0] == pytest.approx(wanted, nan_ok=True)
    moved = file.rename(tmp_path / "masks.npz")
    with pytest.raises(InputError, match="--image-id ID"):
        scored(gt, moved)
    assert scored(gt, moved, image_id=NAMES[0])[0] == pytest.approx(wanted, nan_ok=True)


def test_npz_score_from(tmp_path):
    gt, _ = saved(tmp_path, truth(), results())
    out = tmp_path / "out"
    out.mkdir()
    for k in range(3):
        masks, scores = arrays(k)
        np.savez(out / f"{stem(k)}.npz", masks=masks, a=scores, b=scores**2)
    wanted, _ = scored(gt, save(tmp_path / "w.json", edited(results(), score=lambda s: s**3)))
    assert scored(gt, out, score_from="a * b")[0] == pytest.approx(wanted, nan_ok=True)
    with pytest.raises(InputError, match="masks without scores"):
        scored(gt, out)
    with pytest.raises(InputError, match="finds no such numbers"):
        scored(gt, out, score_from="mean(a, c)")


def broken(**changes):
    def make(path):
        npz_folder(path)
        masks, scores = arrays(0)
        content = {"masks": masks, "scores": scores, **changes}
        kept = {key: value for key, value in content.items() if value is not None}
        np.savez(path / f"{stem(0)}.npz", **kept)
        return path

    return make


REFUSED = {
    "no_masks": (broken(masks=None), "it has no masks"),
    "logits": (broken(masks=np.full((3, 12, 16), 0.25)), "other values than 0 and 1"),
    "small": (broken(masks=np.zeros((3, 6, 8), bool)), "6 x 8 pixels"),
    "flat": (broken(masks=np.zeros((3, 192), bool)), "no masks"),
    "too_few_scores": (broken(scores=np.ones(2)), "are not 3 numbers"),
    "nan": (broken(scores=np.array([1, np.nan, 1])), "not finite"),
    "no_image": (lambda path: npz_folder(path, name="cat{}".format), "called like it"),
    "text": (lambda path: save(npz_folder(path) / f"{stem(1)}.npz", "text").parent, "no file of"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_npz_refused(name, tmp_path, capsys):
    make, message = REFUSED[name]
    gt, _ = saved(tmp_path, truth(), results())
    out = make(tmp_path / "out")
    with pytest.raises(InputError, match=message):
        scored(gt, out)
    assert main(["validate", str(gt), str(out)]) == 1


def columns(rows, **more):
    return {
        "image_id": [row["image_id"] for row in rows],
        "category_id": [row["category_id"] for row in rows],
        "score": [row["score"] for row in rows],
        "size": [row["segmentation"]["size"] for row in rows],
        "counts": [row["segmentation"]["counts"].encode() for row in rows],
        **more,
    }


def written(path, content):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import ipc, parquet

    kept = {key: value for key, value in content.items() if value is not None}
    table = pa.table(kept)
    if path.suffix == ".parquet":
        parquet.write_table(table, path)
    else:
        with ipc.new_file(path, table.schema) as writer:
            writer.write_table(table)
    return path


def side(k):
    return [row["segmentation"]["size"][k] for row in results()]


TAKEN = {
    "plain": {},
    "text_counts": {"counts": [row["segmentation"]["counts"] for row in results()]},
    "float_ids": {"image_id": [float(row["image_id"]) for row in results()]},
    "text_ids": {"image_id": [str(row["image_id"]) for row in results()]},
    "names": {"image_id": [NAMES[IDS.index(row["image_id"])] for row in results()]},
    "file_name": {
        "image_id": None, "file_name": [NAMES[IDS.index(row["image_id"])] for row in results()],
    },
    "sides": {"size": None, "height": side(0), "width": side(1)},
    "confidence": {"score": None, "confidence": [row["score"] for row in results()]},
    "no_category": {"category_id": None},
}  # fmt: skip


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
@pytest.mark.parametrize("name", TAKEN)
def test_columns(name, suffix, tmp_path):
    gt, plain = saved(tmp_path, truth(), results())
    path = written(tmp_path / f"pred{suffix}", columns(results(), **TAKEN[name]))
    assert scored(gt, path)[0] == pytest.approx(scored(gt, plain)[0], nan_ok=True)


COLUMNS_REFUSED = {
    "no_counts": ({"counts": None}, "no column counts; it has image_id"),
    "no_score": ({"score": None}, "no column score.*--score-from"),
    "no_image": ({"image_id": None}, "no column image_id"),
    "size": ({"size": [[12]] * 6}, "not two whole numbers"),
    "other_size": ({"size": [[16, 12]] * 6}, "swapped"),
    "code": ({"counts": [b"04!"] * 6}, "no run-length code"),
    "null_score": ({"score": [None, 1.0, 1.0, 1.0, 1.0, 1.0]}, "row 0: its score is None"),
    "half_id": ({"image_id": [1.5] * 6}, r"image_id is 1\.5"),
    "unknown": ({"image_id": [1000] * 6}, "not among the images"),
}


@pytest.mark.parametrize("name", COLUMNS_REFUSED)
def test_columns_refused(name, tmp_path):
    changes, message = COLUMNS_REFUSED[name]
    gt, _ = saved(tmp_path, truth(), results())
    with pytest.raises(InputError, match=message):
        scored(gt, written(tmp_path / "pred.parquet", columns(results(), **changes)))


def bomb(kind, path):
    """Write a small file that fills some hundred megabytes or more."""
    pa = pytest.importorskip("pyarrow")
    from pyarrow import ipc, parquet

    n = 300_000 if kind in ("dictionary", "rows") else 1
    code = {"dictionary": b"1" * 1000, "rows": b"1"}.get(kind, b"0" * (1 << 28))
    codes = pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, np.int32)), pa.array([code]))
    table = pa.table(
        {
            "image_id": np.full(n, 1),
            "category_id": np.full(n, 1),
            "score": np.full(n, 0.5),
            "height": np.full(n, 16),
            "width": np.full(n, 12),
            "counts": codes if n > 1 else pa.array([code]),
        }
    )
    if kind == "buffer":
        options = ipc.IpcWriteOptions(compression="zstd")
        with path.open("wb") as file, ipc.new_file(file, table.schema, options=options) as out:
            out.write_table(table)
    else:
        parquet.write_table(table, path, compression="zstd", use_dictionary=n > 1, row_group_size=n)
    assert path.stat().st_size < 100_000


@pytest.mark.parametrize("kind", ["dictionary", "rows", "page", "buffer"])
def test_columns_that_fill_all_memory_are_refused(kind, tmp_path):
    gt, _ = saved(tmp_path, truth(), results())
    bomb(kind, tmp_path / "pred.parquet")
    with pytest.raises(InputError, match=r"200 times its size|more than its bytes can tell"):
        scored(gt, tmp_path / "pred.parquet")


def test_values_of_a_dictionary_and_none(tmp_path):
    gt, plain = saved(tmp_path, truth(), results())
    path = tmp_path / "pred.parquet"
    table = columns(results() * 3)
    written(path, table)
    plain.write_text(json.dumps(results() * 3))
    assert scored(gt, path)[0] == pytest.approx(scored(gt, plain)[0], nan_ok=True)
    table["counts"][2] = None
    written(path, table)
    with pytest.raises(InputError, match="row 2: counts are None"):
        scored(gt, path)


def test_broken_columns(tmp_path):
    gt, _ = saved(tmp_path, truth(), results())
    path = written(tmp_path / "pred.parquet", columns(results()))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match="it cannot be read"):
        scored(gt, path)


def test_convert_writes_columns_and_reads_them(tmp_path):
    gt, plain = saved(tmp_path, truth(), results())
    parquet, back = tmp_path / "pred.parquet", tmp_path / "back.json"
    common = ["--gt", str(gt)]
    assert main(["convert", str(plain), str(parquet), "--to", "parquet", *common]) == 0
    assert scored(gt, parquet)[0] == pytest.approx(scored(gt, plain)[0], nan_ok=True)
    assert main(["convert", str(parquet), str(back), "--to", "results", *common]) == 0
    again = json.loads(back.read_text(encoding="utf-8"))
    by_score = {row["score"]: row for row in again}
    for row in results():
        found = by_score[row["score"]]
        assert (found["image_id"], found["category_id"]) == (row["image_id"], row["category_id"])
        assert (rle.decode(found["segmentation"]) == rle.decode(row["segmentation"])).all()
    alone = tmp_path / "alone.json"
    assert main(["convert", str(parquet), str(alone), "--to", "results"]) == 0
    assert scored(gt, alone)[0] == pytest.approx(scored(gt, plain)[0], nan_ok=True)
