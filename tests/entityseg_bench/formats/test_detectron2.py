"""Pickled predictions: plain values and tensors are read, without PyTorch, and nothing runs."""

import collections
import io
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
from odd_inputs import results, saved, scored, truth

from entity_api import rle
from entityseg_bench.formats.unpickled import read_pickle
from entityseg_bench.io import InputError


def per_image(rows):
    found = {}
    for row in rows:
        found.setdefault(row["image_id"], []).append(row)
    return [{"image_id": image_id, "instances": part} for image_id, part in found.items()]


def torch_file(path, content, tensors=()):
    """Write what torch.save writes: a zip with data.pkl and a file a storage."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        for key, data in enumerate(tensors):
            archive.writestr(f"archive/data/{key}", data)
    return path


def dumped(value, protocol):
    return pickle.dumps(value, protocol=protocol)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("zipped", [True, False])
def test_predictions(protocol, zipped, tmp_path):
    gt, plain = saved(tmp_path, truth(), results())
    wanted, _ = scored(gt, plain)
    masks = [{**row, "segmentation": rle.decode(row["segmentation"])} for row in results()]
    codes = [
        {**row, "segmentation": {**row["segmentation"],
                                 "counts": row["segmentation"]["counts"].encode()}}
        for row in results()
    ]  # fmt: skip
    numbers = [{**row, "score": np.float64(row["score"])} for row in results()]
    for k, rows in enumerate((results(), per_image(results()), codes, masks, numbers)):
        content = dumped([collections.OrderedDict(row) for row in rows], protocol)
        path = tmp_path / f"{k}.pth"
        if zipped:
            torch_file(path, content)
        else:
            path.write_bytes(content)
        assert scored(gt, path)[0] == pytest.approx(wanted, nan_ok=True)


def test_a_file_of_torch(tmp_path):
    torch = pytest.importorskip("torch")
    gt, plain = saved(tmp_path, truth(), results())
    wanted, _ = scored(gt, plain)
    rows = [
        {**row, "score": torch.tensor(row["score"], dtype=torch.float64),
         "segmentation": torch.from_numpy(rle.decode(row["segmentation"]).copy())}
        for row in results()
    ]  # fmt: skip
    stacked = [
        {
            "image_id": part["image_id"],
            "masks": torch.stack([row["segmentation"] for row in part["instances"]]),
            "scores": torch.stack([row["score"] for row in part["instances"]]),
        }
        for part in per_image(rows)
    ]
    for name, content in (("rows", rows), ("stacked", stacked), ("plain", per_image(results()))):
        path = tmp_path / f"{name}.pth"
        torch.save(content, path)
        assert scored(gt, path)[0] == pytest.approx(wanted, nan_ok=True)
    path = tmp_path / "views.pth"
    base = torch.arange(24, dtype=torch.int32).reshape(4, 6)
    torch.save([base.T, base[1:3, ::2], base[:0], torch.tensor(7)], path)
    found = read_pickle(path)
    expected = [base.T, base[1:3, ::2], base[:0], torch.tensor(7)]
    for have, want in zip(found, expected, strict=True):
        assert np.array_equal(have, want.numpy())


class Runs:
    """Runs a command when it is unpickled by the pickle module."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


def bomb():
    """A list that unfolds to ten thousand million values."""
    value = ["x"] * 10
    for _ in range(9):
        value = [value] * 10
    return value


def tensor_pickle(size, stride, kind="FloatStorage", key="0", n=6):
    """Write by hand the pickle of one tensor, as torch.save does."""
    out = io.BytesIO()
    out.write(b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(")
    out.write(b"(X\x07\x00\x00\x00storage" + f"ctorch\n{kind}\n".encode())
    out.write(f"X\x01\x00\x00\x00{key}X\x03\x00\x00\x00cpuK".encode() + bytes([n]) + b"tQK\x00")
    for sides in (size, stride):
        out.write(b"(" + b"".join(b"J" + struct.pack("<i", side) for side in sides) + b"t")
    out.write(b"\x89ccollections\nOrderedDict\n)RtR.")
    return out.getvalue()


@pytest.mark.parametrize(("order", "kind"), [("little", "<f4"), ("big", ">f4")])
def test_a_file_says_how_its_numbers_stand(order, kind, tmp_path):
    numbers = np.arange(6, dtype=kind).tobytes()
    path = torch_file(tmp_path / "t.pth", tensor_pickle((2, 3), (3, 1)), [numbers])
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/byteorder", order)
    assert read_pickle(path).tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_tensor_stays_within_its_storage(tmp_path):
    numbers = np.arange(6, dtype="<f4").tobytes()
    path = torch_file(tmp_path / "t.pth", tensor_pickle((2, 3), (3, 1)), [numbers])
    assert read_pickle(path).tolist() == [[0, 1, 2], [3, 4, 5]]
    for size, stride in (((2, 4), (3, 1)), ((10**9,), (0,)), ((2,), (-1,)), ((7,), (1,))):
        path = torch_file(tmp_path / "t.pth", tensor_pickle(size, stride), [numbers])
        with pytest.raises(InputError, match="the pickle"):
            read_pickle(path)
    path = torch_file(tmp_path / "t.pth", tensor_pickle((2, 3), (3, 1)), [numbers[:8]])
    with pytest.raises(InputError, match="storage of 2 values that should have 6"):
        read_pickle(path)
    path = torch_file(tmp_path / "t.pth", tensor_pickle((2, 3), (3, 1)), [])
    with pytest.raises(InputError, match="pickle is broken"):
        read_pickle(path)


def test_nothing_runs(tmp_path):
    target = tmp_path / "ran"
    gt, _ = saved(tmp_path, truth(), results())
    for k, value in enumerate((Runs(target), [Runs(target)], {"a": Runs(target)})):
        path = tmp_path / f"{k}.pth"
        path.write_bytes(pickle.dumps(value))
        with pytest.raises(InputError, match=r"posix\.system|nt\.system"):
            scored(gt, path)
    assert not target.exists()


REFUSED = {
    "bomb": (lambda: pickle.dumps(bomb()), "unfold to far more"),
    "deep": (lambda: b"\x80\x04" + b"]" * 100 + b"a" * 99 + b".", "unfold to far more"),
    "memo": (lambda: b"\x80\x02]r\xff\xff\xff\x7f.", "no list of|it holds|no predictions"),
    "cut": (lambda: pickle.dumps(results())[:-40], "pickle is broken"),
    "class": (lambda: pickle.dumps(collections.Counter("a")), r"collections\.Counter"),
    "eval": (lambda: b"\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85R.", r"builtins\.eval"),
    "getattr": (lambda: b"\x80\x02cbuiltins\ngetattr\n.", r"builtins\.getattr"),
    "objects": (lambda: pickle.dumps(np.array([{}, 1], object)), "array of kind O"),
    "huge": (lambda: pickle.dumps([10**40]), "an? int"),
    "number": (lambda: pickle.dumps(7), "it holds int"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, tmp_path):
    make, message = REFUSED[name]
    gt, _ = saved(tmp_path, truth(), results())
    path = tmp_path / "instances_predictions.pth"
    path.write_bytes(make())
    if name == "memo":
        # A list with a place of two thousand million: it takes no memory, and holds no records.
        assert read_pickle(path) == []
        return
    with pytest.raises(InputError, match=message):
        scored(gt, path)


def test_a_pickle_is_no_ground_truth(tmp_path):
    path = tmp_path / "gt.pth"
    path.write_bytes(pickle.dumps(truth()))
    _, dt = saved(tmp_path, truth(), results())
    with pytest.raises(InputError, match=r"gt\.pth"):
        scored(path, dt)
